"""What a script waits for: a one-shot ``send`` from start to exit, and ``--help``."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Final

from bench.processes import ROOT, broker, child
from bench.report import Report, interleaved, median

_CLI: Final = ("-m", "clients")
_KEY: Final = (
    "-c",
    "from cryptography.hazmat.primitives.asymmetric import rsa; rsa.generate_private_key(65537, 2048)",
)
_SHOW_IMPORTS: Final = """
import sys
sys.argv = ["securechat-cli", "--help"]
from clients import cli
try:
    cli.main()
except SystemExit:
    print([name for name in ("streamlit", "zmq") if name in sys.modules], file=sys.stderr)
"""
_MOST: Final = 0.2


def run(report: Report, repeats: int) -> None:
    report.title(
        "3. One-shot sends",
        "`securechat-cli send` from the process's start to its exit, to a `listen` that runs, by a broker that runs, CURVE on,",
        "beside a process that only makes one RSA-2048 key (which `send` does too). Making a key takes 20 to 110 ms, so the",
        "medians need many runs.",
    )
    with broker() as (address, env):
        listen = (*_CLI, "--as", "bob", "--broker", address.url, "-q", "listen")
        with child(listen, env=env):
            _wait_until_here("bob", address.url, env)
            kinds = {
                "python, making one key": _KEY,
                "send": (*_CLI, "--broker", address.url, "-q", "send", "bob", "backup done"),
                "--help": (*_CLI, "--help"),
                "python, nothing": ("-c", ""),
            }
            found = interleaved(repeats, list(kinds), lambda name: _timed(kinds[name], env))
    report.table(
        ("", "median s", "least s", "most s"),
        [(name, *(f"{of(times):.3f}" for of in (median, min, max))) for name, times in found.items()],
    )
    longer = median(found["send"]) - median(found["python, making one key"])
    report.target("one-shot send, longer than making a key by", longer, most=_MOST, unit=" s")
    imported = subprocess.run(
        [sys.executable, "-c", _SHOW_IMPORTS], env=env, cwd=ROOT, capture_output=True, text=True, check=True
    )
    names = imported.stderr.strip()
    report.target(f"--help, imports of streamlit and zmq ({names})", float(names != "[]"), most=0)


def _wait_until_here(user: str, url: str, env: Mapping[str, str]) -> None:
    for _ in range(50):
        command = [sys.executable, *_CLI, "--broker", url, "users"]
        if user in subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False).stdout:
            return
    raise RuntimeError(f"{user} did not come")


def _timed(command: Sequence[str], env: Mapping[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, *command],
        env=env,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=30,
    )
    return time.perf_counter() - began
