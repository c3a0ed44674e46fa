"""How far a file is, for a person who waits at a terminal."""

from __future__ import annotations

import shutil
import sys
import time
from types import TracebackType
from typing import Final

import click

from clients.terminal import Terminal
from clients.view import clean, progress_parts

_PAUSE: Final = 0.1  # seconds between two looks of it
_CLEAR: Final = "\r\x1b[K"


class ProgressLine:
    """One line on standard error, drawn over itself and gone at the end; nothing where no person reads there."""

    def __init__(self, terminal: Terminal, name: str) -> None:
        self._shown = not terminal.quiet and sys.stderr is not None and sys.stderr.isatty()
        self._name = clean(name)
        self._began: tuple[float, int] | None = None
        self._drawn = 0.0

    def __enter__(self) -> ProgressLine:
        """Begin."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Take the line away."""
        if self._shown and self._drawn:
            click.echo(_CLEAR, nl=False, err=True)

    def __call__(self, done: int, size: int) -> None:
        """So many bytes are done."""
        now = time.monotonic()
        if self._began is None:
            self._began = (now, done)
        if not self._shown or now - self._drawn < _PAUSE:
            return
        self._drawn = now
        line = "  ".join((self._name, *progress_parts(done, size, done - self._began[1], now - self._began[0])))
        click.echo(f"{_CLEAR}{line[: shutil.get_terminal_size().columns - 1]}", nl=False, err=True)
