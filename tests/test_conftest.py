"""What the tests do about the terminal that they are started from."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

from tests.broker_process import ROOT

# A terminal of its own, and in it what `make` starts: a child of whatever leads the session.
_ON_A_TERMINAL: Final = """
import os, pty, shlex, sys
ended = pty.spawn(["/bin/sh", "-c", shlex.join(sys.argv[1:]) + "; exit $?"])
sys.exit(os.waitstatus_to_exitcode(ended))
"""
_ASKS: Final = """
import sys
from tests.conftest import pytest_configure
if sys.argv[1] == "tests":
    pytest_configure()
try:
    open("/dev/tty").close()
    print("asked there")
except OSError:
    print("no terminal")
"""


def _told(what: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _ON_A_TERMINAL, sys.executable, "-c", _ASKS, what],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        start_new_session=True,
    )
    return done.stdout.strip()


def test_a_passphrase_is_not_asked_for_on_the_terminal_of_whoever_runs_the_tests() -> None:
    assert _told("anything else") == "asked there"
    assert _told("tests") == "no terminal"
