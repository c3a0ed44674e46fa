"""``securechat-cli``: the commands. Data goes to standard output, everything else to standard error."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import click

from clients.terminal import (
    INTERRUPTED,
    NETWORK,
    OK,
    TERMINATED,
    USAGE,
    Terminal,
    exit_code_of,
    faint,
    open_streams,
    strong,
)
from clients.view import clock, iso, listing, message_json, order_notes, outcome_word, text_of
from core import errors
from core.bundle import Suite
from core.encoding import b64url
from core.envelope import check_text
from core.events import (
    Disconnected,
    Event,
    Message,
    MessageReceived,
    MessageRefused,
    PeerKeyChanged,
    RosterChanged,
)
from core.limits import HYBRID_CONTENT_MAX
from core.messages import Mode
from core.names import EVERYONE, check_name, fingerprint, normalise_name, short_fingerprint

if TYPE_CHECKING:
    from clients.chat import ChatClient

_F = TypeVar("_F", bound=Callable[..., Any])
_DURATION: Final = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)(?P<unit>ms|s|m|h)?\Z")
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}
_LONGEST: Final = 366 * 24 * 3600.0  # what waits for longer than some decades would overflow
_DEFAULT_TIMEOUT: Final = 10.0


class Duration(click.ParamType[float]):
    """A time such as 10s, 500ms or 2m, in seconds; a plain number is seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it."""
        if isinstance(value, float):
            return value
        match = _DURATION.match(str(value))
        if not match or float(match["number"]) * _UNITS[match["unit"]] > _LONGEST:
            self.fail(f"'{value}' is not a time; write it like 10s, 500ms or 2m.", param, ctx)
        return float(match["number"]) * _UNITS[match["unit"]]


@dataclass(frozen=True, slots=True)
class Settings:
    """What was asked for, before or after the command's name."""

    user: str | None = None
    broker: str | None = None
    as_json: bool = False
    quiet: bool = False
    verbose: bool = False

    @property
    def terminal(self) -> Terminal:
        """Where to print."""
        return Terminal(as_json=self.as_json, quiet=self.quiet)


def _settings(command: _F) -> _F:
    """Options that every command takes, and the group before it too."""
    for option in (
        click.option("-v", "--verbose", is_flag=True, help="Log what happens on the connection."),
        click.option("-q", "--quiet", is_flag=True, help="Print only data and errors."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line."),
        click.option("--broker", metavar="URL", help="The broker's securechat:// address.  [env: SECURECHAT_BROKER]"),
        click.option("--as", "user", metavar="NAME", help="Act as this guest; its keys live in memory."),
    ):
        command = option(command)
    return command


def _merge(context: click.Context, /, user: str | None, broker: str | None, **flags: bool) -> Settings:
    before = context.find_object(Settings) or Settings()
    return replace(
        before,
        user=user or before.user,
        broker=broker or before.broker,
        **{name: value or getattr(before, name) for name, value in flags.items()},
    )


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@_settings
@click.pass_context
def cli(context: click.Context, /, **options: Any) -> None:
    """End-to-end encrypted chat from the command line.

    \b
    securechat-cli --as bob listen
    securechat-cli --as alice send bob 'backup done'
    df -h | securechat-cli send ops

    Exit codes: 0 every copy arrived · 1 other · 2 usage · 3 broker or network · 4 changed or untrusted key · 5 limit ·
    6 unknown or absent user, name taken, not let in · 7 only some copies arrived · 8 time ran out · 130 Ctrl-C
    """
    context.obj = _merge(context, **options)


@cli.command()
@click.argument("args", nargs=-1, metavar="TO... [TEXT|-]")
@click.option("--everyone", is_flag=True, help="Send to everybody who is here, instead of TO.")
@click.option("--suite", type=click.Choice([suite.value for suite in Suite]), default="hybrid", show_default=True,
              help="RSA with AES-256-GCM, or RSA alone in blocks of 190 bytes.")  # fmt: skip
@click.option("--timeout", type=Duration(), default=_DEFAULT_TIMEOUT, help="How long to wait for the answers.  [default: 10s]")
@_settings
@click.pass_context
def send(context: click.Context, /, args: tuple[str, ...], everyone: bool, suite: str, timeout: float, **options: Any) -> None:
    """Send TEXT to one user or several; '-', or no TEXT, reads it from standard input.

    With two or more arguments the last one is the text: pipe to several users with 'send alice bob -'.
    Succeeds only if every recipient's client took the message.

    \b
    securechat-cli send alice 'backup done'
    journalctl -u backup -n 20 | securechat-cli send alice bob -
    securechat-cli --as ops send --everyone 'restarting in 5 minutes'
    """
    settings = _merge(context, **options)
    terminal = settings.terminal
    to, text = _recipients_and_text(args, everyone=everyone)
    check_text(text, Suite(suite))
    with _client(settings, Mode.SEND, max(timeout, _DEFAULT_TIMEOUT)) as client:
        if settings.user is None:
            terminal.say(f"sending as {client.user}, a guest identity made for this message; --as NAME chooses another")
        if everyone:
            client.fetch_users(timeout)
        id_ = client.send(text, EVERYONE if everyone else to, suite=Suite(suite))
        outcomes = client.wait_sent(id_, timeout)
        connected = client.status.error is None
    code = exit_code_of(outcomes.values())
    if terminal.as_json:
        values = {name: outcome.value for name, outcome in outcomes.items()}
        terminal.data("", {
            "v": 1, "type": "sent", "id": b64url(id_), "from": client.user, "everyone": everyone,
            "suite": suite, "recipients": values, "exit": code,
        })  # fmt: skip
    for outcome in dict.fromkeys(outcomes.values()):
        names = [name for name, one in outcomes.items() if one is outcome]
        if outcome.safe:
            terminal.say(f"sent to {listing(names)} ({outcome.value}) id={b64url(id_)}")
        elif outcome.final:
            terminal.warn(f"{click.style('not sent', fg='red')} to {listing(names)}: {outcome_word(outcome)}")
        else:
            why = "no answer came in time" if connected else "the broker went away"
            terminal.warn(
                f"{click.style('unanswered', fg='red')} for {listing(names)}: {why}; nothing was kept, so send it again"
            )
    if code != OK and not connected:
        code = NETWORK
    sys.exit(code)


@cli.command()
@click.option("--from", "sender", metavar="USER", help="Only messages from this user.")
@click.option("-n", "--number", type=click.IntRange(1), metavar="N", help="Stop after N messages.")
@click.option("--timeout", type=Duration(), help="Stop with exit code 8 if N messages did not come in this time.")
@_settings
@click.pass_context
def listen(context: click.Context, /, sender: str | None, number: int | None, timeout: float | None, **options: Any) -> None:
    """Be present, and print messages as they arrive.

    \b
    securechat-cli --as bob listen
    securechat-cli --as bob listen -n 1 --json | jq -r .text
    """
    settings = _merge(context, **options)
    terminal = settings.terminal
    if sender is not None:
        check_name(sender)
    left = number
    with _client(settings, Mode.FULL, _DEFAULT_TIMEOUT) as client:
        terminal.say(f"listening as {client.user} on {client.broker.where}, fingerprint {short_fingerprint(client.kid or b'')}")
        for event in client.events(timeout):
            if not isinstance(event, MessageReceived):
                _tell(terminal, client.user, event)
            elif sender in (None, event.message.sender):
                for note in order_notes(event.message):
                    terminal.warn(note)
                terminal.data(_message_line(event.message), message_json(event.message))
                left = None if left is None else left - 1
                if left == 0:
                    return


def _tell(terminal: Terminal, me: str, event: Event) -> None:
    """Say what happened beside the messages."""
    match event:
        case MessageRefused(who, _, stage):
            terminal.warn(f"a message said to be from {who} was refused: it failed the check '{stage}'")
        case PeerKeyChanged(user, _, kid):
            terminal.warn(f"{user} now uses another key: {short_fingerprint(kid)}")
        case Disconnected(why):
            terminal.say(f"connection lost: {why}; trying again")
        case RosterChanged(joined, _, initial) if initial:
            others = [entry.user for entry in joined if entry.user != me]
            terminal.say(faint(f"connected; here: {listing(others) or 'nobody else yet'}"))
        case RosterChanged(joined, left, _):
            for entry in joined:
                if entry.user != me:
                    terminal.say(faint(f"{entry.user} joined"))
            for entry in left:
                terminal.say(faint(f"{entry.user} left"))
        case _:
            pass


@cli.command()
@_settings
@click.pass_context
def users(context: click.Context, /, **options: Any) -> None:
    """Show who is here, with the fingerprints of their identity keys."""
    settings = _merge(context, **options)
    terminal = settings.terminal
    with _client(settings, Mode.SEND, _DEFAULT_TIMEOUT) as client:
        present = client.fetch_users(_DEFAULT_TIMEOUT)
    width = max((len(peer.user) for peer in present), default=0)
    for peer in present:
        terminal.data(
            f"{strong(peer.user.ljust(width))}  {peer.kind.value:7}  {short_fingerprint(peer.kid)}",
            {"v": 1, "type": "user", "user": peer.user, "kind": peer.kind.value, "fingerprint": fingerprint(peer.kid)},
        )
    if not present:
        terminal.say("nobody is here")


@cli.command()
@_settings
@click.pass_context
def status(context: click.Context, /, **options: Any) -> None:
    """Show which broker would be used, and whether it answers."""
    settings = _merge(context, **options)
    terminal = settings.terminal
    with _client(settings, Mode.SEND, _DEFAULT_TIMEOUT) as client:
        present = client.fetch_users(_DEFAULT_TIMEOUT)
    names = listing(peer.user for peer in present) or "nobody"
    terminal.data(
        f"broker      {client.broker.where}\nbroker key  {b64url(client.broker.key)}\nhere        {names}",
        {"v": 1, "type": "status", "broker": client.broker.url, "connected": True, "users": len(present)},
    )


def _recipients_and_text(args: tuple[str, ...], *, everyone: bool) -> tuple[tuple[str, ...], str]:
    names = () if everyone else args[:-1] if len(args) > 1 else args
    rest = args[len(names) :]
    if everyone and len(args) > 1:
        raise click.UsageError("With --everyone there is only the text: put it in quotes.")
    if not everyone and not names:
        raise click.UsageError("Say to whom, and what: securechat-cli send alice 'backup done'")
    to = tuple(check_name(normalise_name(name)) for name in names)
    if rest and rest != ("-",):
        try:
            rest[0].encode()
        except UnicodeEncodeError:
            raise click.UsageError("TEXT is not text in UTF-8; nothing was sent.") from None
        return to, rest[0]
    if not rest and sys.stdin is not None and sys.stdin.isatty():
        raise click.UsageError("There is no text. Put it last, in quotes, or pipe it in: df -h | securechat-cli send ops")
    return to, _standard_input()


def _standard_input() -> str:
    try:
        # One byte more than fits tells "too long" without reading the rest.
        raw = sys.stdin.buffer.read(HYBRID_CONTENT_MAX + 1) if sys.stdin else b""
        text = raw.decode("utf-8", "strict" if len(raw) <= HYBRID_CONTENT_MAX else "ignore")
    except OSError:
        return ""
    except UnicodeDecodeError:
        raise click.UsageError("Standard input is not text in UTF-8; nothing was sent.") from None
    return text.removesuffix("\n")


@contextlib.contextmanager
def _client(settings: Settings, mode: Mode, timeout: float) -> Iterator[ChatClient]:
    from clients.chat import ChatClient
    from clients.discovery import choose_broker

    if settings.verbose:
        logging.basicConfig(level=logging.DEBUG, format="%(levelname)s:%(name)s:%(message)s")
    name = settings.user or os.environ.get("SECURECHAT_AS")
    user = normalise_name(name) if name else f"guest-{os.urandom(3).hex()}"
    client = ChatClient(user, choose_broker(settings.broker, os.environ), mode=mode, events=mode is Mode.FULL)
    client.start()
    try:
        client.wait_ready(timeout)
        yield client
    finally:
        client.close()


def _message_line(message: Message) -> str:
    to = " to everyone" if message.everyone else ""
    when = clock(message.ts / 1000) if sys.stdout.isatty() else iso(message.ts)
    lines = text_of(message.content).split("\n")
    first = f"{faint(when)} {strong(message.sender)}{to}: {lines[0]}"
    return "\n".join([first, *(f"    {line}" for line in lines[1:])])


def _terminated(_number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(TERMINATED)


def main() -> NoReturn:
    """Run the command line; every way out is an exit code, none a traceback."""
    signal.signal(signal.SIGTERM, _terminated)
    open_streams()
    settings = Settings(as_json="--json" in sys.argv)
    try:
        cli.main(prog_name="securechat-cli", standalone_mode=False)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.UsageError as error:
        error.show()
        sys.exit(USAGE)
    except (KeyboardInterrupt, click.Abort):
        click.echo("", err=True)
        sys.exit(INTERRUPTED)
    except errors.SecureChatError as error:
        settings.terminal.fail(error)
    sys.exit(OK)


if __name__ == "__main__":
    main()
