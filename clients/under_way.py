"""One file on its way from or to the page: how far it is, and what became of it."""

from __future__ import annotations

import os
import time
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Final

from clients.view import amount, progress_parts
from core.bundle import Suite
from core.content import File
from core.errors import BadFileName, FileGone, SecureChatError


class TransferState(StrEnum):
    """How far a transfer is."""

    WAITING = "waiting"
    RUNNING = "running"
    SENDING = "sending"
    DONE = "done"
    FAILED = "failed"


class SessionEnded(SecureChatError):
    """This session has ended, so nothing was sent."""

    hint = "Come back first, then try again."


class UploadStopped(SecureChatError):
    """You stopped it, so nothing was sent."""


class DownloadStopped(SecureChatError):
    """You stopped it."""


class Transfer:
    """One file on its way. Its thread writes it, and the page reads it."""

    def __init__(self, name: str, size: int) -> None:
        self.name: Final = name
        self.size: Final = size
        self.state = TransferState.WAITING
        self.error: SecureChatError | None = None
        self.done = 0
        self._began: tuple[float, int] | None = None

    @property
    def share(self) -> int:
        """How many percent are done."""
        return 100 * self.done // self.size if self.size else 0

    @property
    def active(self) -> bool:
        """Whether it is under way, or will be."""
        return self.state in (TransferState.WAITING, TransferState.RUNNING, TransferState.SENDING)

    @property
    def why(self) -> str:
        """The sentence of what went wrong, without where this program keeps its copy."""
        where = str(self.error.fields.get("name", "")) if self.error else ""
        return str(self.error).replace(where, self.name) if where else str(self.error or "")

    @property
    def repeatable(self) -> bool:
        """Whether it came to nothing, and trying again may help."""
        return self.state is TransferState.FAILED and not isinstance(self.error, (BadFileName, FileGone))

    def text(self) -> str:
        """How far it is, in words."""
        if self.state is TransferState.WAITING:
            return "waiting …"
        if self._began is None:
            return "connecting …"
        at, first = self._began
        return " · ".join(progress_parts(self.done, self.size, self.done - first, time.monotonic() - at))

    def note(self, done: int) -> None:
        """So many bytes are done."""
        self.done = done
        if self._began is None:
            self._began = (time.monotonic(), done)

    def begin(self) -> None:
        """It is its turn."""
        self.state, self.error, self.done, self._began = TransferState.RUNNING, None, 0, None

    def fail(self, error: SecureChatError) -> None:
        """It came to nothing, for now."""
        self.error, self.state = error, TransferState.FAILED


class Upload(Transfer):
    """A file that was attached to a conversation: uploaded, then sent there."""

    def __init__(self, number: int, name: str, content: BinaryIO, conversation: str, suite: Suite) -> None:
        super().__init__(name, content.seek(0, os.SEEK_END))
        self.number: Final = number
        self.conversation: Final = conversation
        self.suite: Final = suite
        self.content: BinaryIO | None = content  # until it has a copy
        self.copy: Path | None = None
        self.known_as = ""  # once it has a copy
        self.file: File | None = None  # once it is uploaded

    def text(self) -> str:
        """How far it is, in words."""
        if self.state is TransferState.RUNNING and not self.known_as:
            return "making a copy …"
        first = self._began[1] if self._began else 0
        return super().text() + (f" · went on at {amount(first)}" if first else "")

    @property
    def left(self) -> str:
        """What the broker has of it already, in words, if it came to nothing."""
        if self.file or not (self.done and self.repeatable):
            return ""
        return f"{amount(self.done)} of {amount(self.size)} are at the broker already."


class Download(Transfer):
    """A file that somebody sent."""

    def __init__(self, file: File) -> None:
        super().__init__(file.name, file.size)
        self.file: Final = file
        self.data = b""
