"""What people were told: one line each, written with one call, so that a kill takes nothing that was said before it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

from core.events import Outcome


class Tried(msgspec.Struct, frozen=True, tag="tried"):
    """Somebody is about to send ``text``, which nobody sent before."""

    text: str


class Handed(msgspec.Struct, frozen=True, tag="handed"):
    """The message ``id`` (16 bytes) was taken for sending."""

    id: bytes


class Told(msgspec.Struct, frozen=True, tag="told"):
    """What the sender was told of the copy of ``id`` for ``user``."""

    id: bytes
    user: str
    outcome: Outcome


Line = Tried | Handed | Told
_DECODER: Final[msgspec.json.Decoder[Line]] = msgspec.json.Decoder(Line)


class Journal:
    """A file that several processes may append to.

    What one call has written outlives the process, and no more is needed: nobody pulls the plug here.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def say(self, line: Line) -> None:
        """Write a line."""
        os.write(self._file, msgspec.json.encode(line) + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def read_journal(path: Path) -> list[Line]:
    """All lines of a journal that were written to their end."""
    return [_DECODER.decode(line) for line in whole_lines(path)]


def whole_lines(path: Path) -> list[bytes]:
    """The lines of a file, without one that ends in the middle: whoever wrote it was killed."""
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []
