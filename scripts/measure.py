"""What benchmarks and crash tests need alike: large files, and how much memory a process has."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Final

_BLOCK: Final = 1 << 20


def make_file(path: Path, size: int) -> None:
    """A file of ``size`` random bytes."""
    with path.open("wb") as file:
        for at in range(0, size, _BLOCK):
            file.write(os.urandom(min(_BLOCK, size - at)))


def same_content(one: Path, other: Path) -> bool:
    """Whether both files are there and hold the same bytes."""
    return one.exists() and other.exists() and _digest(one) == _digest(other)


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def memory_now(pid: int) -> int:
    """Bytes of memory that a process has in use; 0 where the system does not tell."""
    return _status(pid, "VmRSS:")


def memory_peak(pid: int) -> int:
    """The most bytes of memory that a process has had in use; 0 where the system does not tell."""
    return _status(pid, "VmHWM:")


def _status(pid: int, what: str) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(what):
                return int(line.split()[1]) * 1024
    return 0
