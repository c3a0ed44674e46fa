"""What every command shares: where output goes, and what becomes of errors."""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NoReturn, TextIO

import click

from core import errors
from core.events import Outcome

_PLAINER: Final = "clients.terminal.plainer"
_MARKS: Final = {"✓": "+", "✗": "x", "…": "...", "·": "-"}

OK, OTHER, USAGE, NETWORK, UNTRUSTED, LIMIT, ABSENT, PARTIAL, TIMEOUT, LOCKED = range(10)
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141
TERMINATED: Final = 143

# The most specific class that fits decides.
EXIT_CODES: Final[dict[type[errors.SecureChatError], int]] = {
    errors.SecureChatError: OTHER,
    errors.BadName: USAGE,
    errors.BadAddress: USAGE,
    errors.EmptyMessage: USAGE,
    errors.ConfigBroken: USAGE,
    errors.MessageTooLong: LIMIT,
    errors.BrokerUnreachable: NETWORK,
    errors.BrokerKeyMismatch: UNTRUSTED,
    errors.BrokerKeyChanged: UNTRUSTED,
    errors.BadBundle: UNTRUSTED,
    errors.KeyChanged: UNTRUSTED,
    errors.NumbersDiffer: UNTRUSTED,
    errors.NotVerified: UNTRUSTED,
    errors.PeerBlocked: UNTRUSTED,
    errors.PeerUnknown: ABSENT,
    errors.KeystoreLocked: LOCKED,
    errors.WrongPassphrase: LOCKED,
    errors.LoginRefused: ABSENT,
    errors.UserAbsent: ABSENT,
    errors.TimeRanOut: TIMEOUT,
}

_FAILED: Final = {
    Outcome.UNTRUSTED: UNTRUSTED,
    Outcome.REFUSED: UNTRUSTED,
    Outcome.CHANGED: UNTRUSTED,
    Outcome.BLOCKED: UNTRUSTED,
    Outcome.DROPPED: OTHER,
    Outcome.UNPROVEN: OTHER,
    Outcome.FULL: LIMIT,
    Outcome.RATE: LIMIT,
    Outcome.UNSTORED: LIMIT,
    Outcome.EXPIRED: LIMIT,
    Outcome.ABSENT: ABSENT,
    Outcome.GONE: ABSENT,
    Outcome.QUEUED: TIMEOUT,
    Outcome.SENT: TIMEOUT,
}


def exit_code(error: errors.SecureChatError) -> int:
    """The exit code of an error."""
    return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)


def exit_code_of(outcomes: Iterable[Outcome]) -> int:
    """The exit code of a message: 0 if every copy is safe, 7 if only some are, else why the first one failed."""
    all_of_them = list(outcomes)
    failed = [_FAILED[one] for one in all_of_them if not one.safe]
    if not failed:
        return OK
    return PARTIAL if len(failed) < len(all_of_them) else min(failed)


def overall(codes: Sequence[int]) -> int:
    """The exit code of several messages: 0 if all are safe, 7 if only some are, else the smallest of the others."""
    failed = [code for code in codes if code != OK]
    return OK if not failed else PARTIAL if len(failed) < len(codes) else min(failed)


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
        if self.as_json and not isinstance(error, OutputFailed):
            self.data("", {"v": 1, "type": "error", "error": type(error).__name__, "message": str(error), "exit": code})
        self.complain(error)
        sys.exit(code)

    def complain(self, error: errors.SecureChatError) -> None:
        """Say what went wrong and what to do about it."""
        self.warn(f"{click.style('error:', fg='red')} {error}")
        if error.advice:
            self.warn(f"hint: {error.advice}")


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
    return "NO_COLOR" not in os.environ and bool(getattr(stream, "isatty", lambda: False)())


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
