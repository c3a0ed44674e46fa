"""The processes that are measured: started here, watched here, and ended here whatever happens."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from core.address import BrokerAddress
from core.encoding import b64url
from core.identity import Identity
from core.places import FILE_NAME, decode_connection_file

ROOT: Final = Path(__file__).resolve().parent.parent
_START_MAX: Final = 30.0
_END_MAX: Final = 3.0


def environment(folder: Path) -> dict[str, str]:
    """This process's environment, so changed that our modules are found and nobody's running broker is."""
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "XDG_RUNTIME_DIR": str(folder),
        "XDG_STATE_HOME": str(folder),
    }


@contextlib.contextmanager
def child(
    command: Sequence[str], *, env: Mapping[str, str] | None = None, quiet: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``python`` with these arguments for as long as the context lasts. Its input's end tells it to stop."""
    process = subprocess.Popen(
        [sys.executable, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if quiet else None,
        env=env,
        cwd=ROOT,
    )
    try:
        yield process
    finally:
        if process.stdin:
            process.stdin.close()
        process.terminate()
        try:
            process.wait(_END_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()


@dataclass(frozen=True, slots=True)
class Relay:
    """A relay that runs: its process, where senders and receivers connect, and its CURVE public key (Z85) or None."""

    pid: int
    front: int
    back: int
    key: str | None


@contextlib.contextmanager
def relay(kind: str, *, curve: bool, profiles: Sequence[Identity] = ()) -> Iterator[Relay]:
    """Run one of the relays of ``bench.relays``; a broker knows these ``profiles``."""
    owners = json.dumps({one.user: b64url(one.kid) for one in profiles})
    with child(["-m", "bench.relays", kind, "curve" if curve else "plain", owners]) as process:
        line = process.stdout.readline() if process.stdout else b""
        if not line:
            raise RuntimeError(f"the relay '{kind}' did not start")
        yield Relay(process.pid, **json.loads(line))


@contextlib.contextmanager
def broker() -> Iterator[tuple[BrokerAddress, dict[str, str]]]:
    """Run ``securechat-broker`` as people do, in a folder of its own; yields its address and the environment to use."""
    with running_broker() as (address, env, _):
        yield address, env


@contextlib.contextmanager
def running_broker() -> Iterator[tuple[BrokerAddress, dict[str, str], int]]:
    """The same; yields its process id, too."""
    with tempfile.TemporaryDirectory(prefix="securechat-bench-") as name:
        folder = Path(name)
        data = folder / "broker"
        env = environment(folder)
        with child(["-m", "broker", "--host", "127.0.0.1", "--port", "0", "--data", str(data)], env=env, quiet=True) as process:
            until = time.monotonic() + _START_MAX
            while not (data / FILE_NAME).exists():
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError("the broker did not start")
                time.sleep(0.01)
            yield decode_connection_file((data / FILE_NAME).read_bytes()).address, env, process.pid


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds: of all threads of a process, and of its busiest one."""

    total: float
    busiest: float


class CpuMeter:
    """What a process has used since this was made. Linux tells; elsewhere everything is 0."""

    def __init__(self, pid: int) -> None:
        self._tasks = Path(f"/proc/{pid}/task")
        self._before = self._read()

    def usage(self) -> Usage:
        used = [now - self._before.get(thread, 0.0) for thread, now in self._read().items()]
        return Usage(sum(used), max(used, default=0.0))

    def _read(self) -> dict[str, float]:
        found = {}
        with contextlib.suppress(OSError):
            for task in self._tasks.iterdir():
                with contextlib.suppress(OSError):
                    found[task.name] = int((task / "schedstat").read_text().split()[0]) / 1e9
        return found
