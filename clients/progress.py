"""How far a file is, for a person who waits at a terminal."""

from __future__ import annotations

import shutil
import sys
import time
from types import TracebackType
from typing import Final

import click

from clients.terminal import Terminal
from clients.view import amount, clean, lasting

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
        line = progress_text(self._name, done, size, done - self._began[1], now - self._began[0])
        click.echo(f"{_CLEAR}{line[: shutil.get_terminal_size().columns - 1]}", nl=False, err=True)


def progress_text(name: str, done: int, size: int, moved: int, seconds: float) -> str:
    """``report.pdf  42 %  31.2 MB/s  12 s left``; ``moved`` is what was done in these ``seconds``."""
    share = 100 * done // size if size else 100
    rate = moved / seconds if seconds > 0 else 0.0
    pace = f"  {amount(rate)}/s  {lasting((size - done) / rate)} left" if rate else ""
    return f"{name}  {share} %{pace}"
