"""``verify`` on a terminal: the number as a QR code too, where there is room; as real processes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import struct
import subprocess
import termios

import pytest

from clients.qr import qr_lines
from tests.broker_process import ASCII, cli, cli_command
from tests.clients.profiles.people import Env, greet, number, ok
from tests.net import PATIENCE

BLOCKS = frozenset("█▀▄")


def on_a_terminal(env: Env, columns: int, *arguments: str) -> str:
    """What a terminal of this width shows of a command that nobody can answer."""
    parent, child = os.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    shown = b""
    with subprocess.Popen(
        cli_command(*arguments), env=env, stdin=subprocess.DEVNULL, stdout=child, stderr=subprocess.PIPE
    ) as process:
        os.close(child)
        with contextlib.suppress(OSError):  # the terminal's other end is closed
            while part := os.read(parent, 4096):
                shown += part
        _, complaints = process.communicate(timeout=PATIENCE)
    os.close(parent)
    assert process.returncode == 0, complaints
    return shown.decode()


def lines(shown: str) -> list[str]:
    return [re.sub(r"\x1b\[[0-9;]*m", "", line.rstrip("\r")) for line in shown.split("\n")]


def digits(shown: str) -> str:
    return "".join(re.findall(r"\b\d{5}\b", "\n".join(lines(shown))))


def test_the_code_stands_beside_the_digits_or_below_them_or_not_at_all(alice: Env, bob: Env) -> None:
    greet(alice, bob, "bob")
    wanted = number(alice, "bob")
    code = qr_lines(wanted)
    for columns, beside, below in (
        (100, True, False),
        (64, True, False),
        (63, False, True),
        (33, False, True),
        (32, False, False),
    ):
        shown = on_a_terminal(alice, columns, "verify", "bob")
        assert digits(shown) == wanted
        assert max(map(len, lines(shown))) <= columns
        assert any(line.endswith(code[8]) and wanted[20:25] in line for line in lines(shown)) is beside, columns
        assert (set(code) <= set(lines(shown))) is below
        if not beside and not below:
            assert not BLOCKS & set(shown)


@pytest.mark.parametrize("columns", [100, 50])
def test_without_colours_it_is_drawn_without_them(alice: Env, bob: Env, columns: int) -> None:
    greet(alice, bob, "bob")
    shown = on_a_terminal({**alice, "NO_COLOR": "1"}, columns, "verify", "bob")
    assert "\x1b" not in shown
    code = qr_lines(number(alice, "bob"))
    assert [line[-len(code[0]) :] for line in lines(shown) if BLOCKS & set(line)] == code


def test_it_is_for_people_only(alice: Env, bob: Env) -> None:
    greet(alice, bob, "bob")
    told = number(alice, "bob")
    piped = ok(cli(alice, "verify", "bob")).out
    in_ascii = {**alice, **ASCII}
    for shown in (piped, on_a_terminal(alice, 100, "verify", "bob", "--json"), on_a_terminal(in_ascii, 100, "verify", "bob")):
        assert told in shown.replace(" ", "").replace("\r", "").replace("\n", "")
        assert not BLOCKS & set(shown)
        assert "\\u2588" not in shown
    assert on_a_terminal(alice, 100, "--quiet", "verify", "bob", "--number", told) == ""
