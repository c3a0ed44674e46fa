"""What every command shares: where output goes, and how errors are told."""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from typing import Final, NoReturn, TextIO

import click

from clients.exits import BROKEN_PIPE, INTERRUPTED, exit_code
from clients.view import clean
from core import errors

_PLAINER: Final = "clients.terminal.plainer"
_MARKS: Final = {"✓": "+", "✗": "x", "…": "...", "·": "-"}


class OutputFailed(errors.SecureChatError):
    """Standard output cannot be written: {why}."""


def output_failed(error: OSError) -> OutputFailed:
    """What to raise where writing to standard output has failed; nothing more is written there."""
    _discard(sys.stdout)
    return OutputFailed(why=error.strerror)


class Terminal:
    """Prints data to standard output, one JSON object a line if asked, and everything else to standard error."""

    def __init__(self, *, as_json: bool, quiet: bool) -> None:
        self.as_json = as_json
        self.quiet = quiet

    @property
    def columns(self) -> int:
        """How wide the terminal is that shows the results; 0 where no person reads them there."""
        if self.as_json or sys.stdout is None or not sys.stdout.isatty():
            return 0
        return shutil.get_terminal_size().columns

    def can_print(self, text: str) -> bool:
        """Whether standard output's encoding has all of these characters."""
        return self.shown(text) == text

    def shown(self, text: str) -> str:
        """``text`` as ``data`` prints it."""
        return _printable(text, sys.stdout.encoding)

    def data(self, text: str, values: Mapping[str, object]) -> None:
        """Print one result: ``text`` for people, or ``values`` as one line of JSON; flushed."""
        if self.as_json:
            text = json.dumps(values)  # in ASCII: no control character of a peer's, and right in any encoding
        if sys.stdout is None:
            raise OutputFailed(why="it is closed")
        try:
            click.echo(_printable(text, sys.stdout.encoding), color=_color(sys.stdout))
            sys.stdout.flush()
        except BrokenPipeError:  # whoever read the output has had enough
            _discard(sys.stdout)
            sys.exit(BROKEN_PIPE)
        except OSError as error:
            raise output_failed(error) from error

    def say(self, text: str) -> None:
        """Tell a person something, unless they asked for quiet."""
        if not self.quiet:
            tell(text)

    def warn(self, text: str) -> None:
        """Tell a person something that must not be missed."""
        tell(text)

    def fail(self, error: errors.SecureChatError) -> NoReturn:
        """Say what went wrong and what to do about it, and exit."""
        code = exit_code(error)
        self.tell_error(error, code)
        sys.exit(code)

    def tell_error(self, error: errors.SecureChatError, code: int) -> None:
        """Say what went wrong, as a result too if that is to be JSON; ``code`` is the exit code that will follow."""
        if self.as_json and not isinstance(error, OutputFailed):
            self.data("", {"v": 1, "type": "error", "error": type(error).__name__, "message": str(error), "exit": code})
        self.complain(error)

    def complain(self, error: errors.SecureChatError) -> None:
        """Say what went wrong and what to do about it; what it quotes may be anybody's."""
        self.warn(f"{click.style('error:', fg='red')} {clean(str(error))}")
        if error.advice:
            self.warn(f"hint: {clean(error.advice)}")


def open_streams() -> None:
    """Give a process that was started without some standard streams null devices for them.

    Else the next file or socket to be opened would be taken for the stream. Standard output stays unwritable.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number: this one
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)


def tell(text: str) -> None:
    """Say something on standard error. That it cannot be said changes nothing about what was done."""
    try:
        click.echo(_printable(text, sys.stderr.encoding), err=True, color=_color(sys.stderr))
        sys.stderr.flush()
    except OSError:
        _discard(sys.stderr)


def _discard(stream: TextIO) -> None:
    # Without this, Python would try to write what is left once more on its way out, and complain.
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Within, Ctrl-C raises KeyboardInterrupt, so that what was begun is put in order.

    After it, it does nothing: what is done is done, and the exit code is to say so.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background by a shell
        yield
        return

    def unraisable(hook: sys.UnraisableHookArgs) -> None:
        if isinstance(hook.exc_value, KeyboardInterrupt):  # raised in a place from which nothing can be raised
            os._exit(INTERRUPTED)
        sys.__unraisablehook__(hook)

    sys.unraisablehook = unraisable
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def strong(text: str) -> str:
    """``text`` made to stand out where the terminal can."""
    return click.style(text, bold=True)


def faint(text: str) -> str:
    """``text`` made to step back where the terminal can."""
    return click.style(text, dim=True)


def _color(stream: object) -> bool:
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return not plain and bool(getattr(stream, "isatty", lambda: False)())


def _printable(text: str, encoding: str | None) -> str:
    """What the stream's encoding cannot say becomes a plainer mark or an escape, instead of an error at the worst moment."""
    name = encoding or "ascii"
    return text.encode(name, _PLAINER).decode(name)


def _plainer(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    run = error.object[error.start : error.end]  # all of it at once: an encoder begins anew behind what it was given
    return "".join(_MARKS.get(one) or one.encode("ascii", "backslashreplace").decode() for one in run), error.end


codecs.register_error(_PLAINER, _plainer)
