"""``send``, ``listen``, ``users`` and ``status``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from clients.cli_settings import DEFAULT_TIMEOUT, GUEST_PREFIX, Duration, merge, open_client, shared_options
from clients.terminal import NETWORK, OK, TIMEOUT, Terminal, exit_code_of, faint, strong
from clients.view import clock, iso, key_changed_json, listing, message_json, order_notes, outcome_word, text_of
from core import errors
from core.bundle import Suite
from core.content import Text
from core.encoding import b64url
from core.envelope import check_content
from core.events import (
    Disconnected,
    Event,
    Message,
    MessageReceived,
    MessageRefused,
    Outcome,
    PeerKeyChanged,
    RosterChanged,
    Trust,
    Welcomed,
)
from core.limits import HYBRID_CONTENT_MAX
from core.messages import Mode
from core.names import EVERYONE, check_name, fingerprint, normalise_name, short_fingerprint

if TYPE_CHECKING:
    from clients.chat import ChatClient


@click.command()
@click.argument("args", nargs=-1, metavar="TO... [TEXT|-]")
@click.option("--everyone", is_flag=True, help="Send to everybody who is here, instead of TO.")
@click.option("--suite", type=click.Choice([suite.value for suite in Suite]), default="hybrid", show_default=True,
              help="RSA with AES-256-GCM, or RSA alone in blocks of 190 bytes.")  # fmt: skip
@click.option(
    "--wait",
    type=click.Choice(["stored", "delivered"]),
    default="stored",
    show_default=True,
    help="Until every copy is safe at the broker or with its recipient, or until every recipient has it.",
)
@click.option("--timeout", type=Duration(), default=DEFAULT_TIMEOUT, help="How long to wait for that.  [default: 10s]")
@click.option("--verified-only", is_flag=True, help="Only to users whom this profile has verified.")
@shared_options
@click.pass_context
def send(
    context: click.Context,
    /,
    args: tuple[str, ...],
    everyone: bool,
    suite: str,
    wait: str,
    timeout: float,
    verified_only: bool,
    **options: Any,
) -> None:
    """Send TEXT to one user or several; '-', or no TEXT, reads it from standard input.

    With two or more arguments the last one is the text: pipe to several users with 'send alice bob -'.
    Succeeds once every copy is on the broker's disk or with its recipient. A profile keeps what could not be sent in its
    outbox; a guest keeps nothing.

    \b
    securechat-cli send alice 'backup done'
    journalctl -u backup -n 20 | securechat-cli send alice bob -
    securechat-cli --as ops send --everyone 'restarting in 5 minutes'
    """
    settings = merge(context, **options)
    terminal = settings.terminal
    to, text = _recipients_and_text(args, everyone=everyone)
    check_content(Text(text), Suite(suite))
    with open_client(settings, Mode.SEND, max(timeout, DEFAULT_TIMEOUT), offline=not everyone) as client:
        if client.profile is None and client.user.startswith(GUEST_PREFIX):
            terminal.say(f"sending as {client.user}, a guest identity made for this message; --as NAME chooses another")
        new: list[str] = []
        if everyone:
            client.fetch_users(timeout)
            audience = client.audience(verified_only=verified_only)
            new = [peer.user for peer in audience if peer.trust is Trust.NEW]
            if new and client.profile:
                terminal.say(f"new to you: {listing(new)}")
        id_ = client.send(text, EVERYONE if everyone else to, suite=Suite(suite), verified_only=verified_only)
        outcomes = client.wait_sent(id_, timeout, stored=wait == "stored")
        problem = client.status.error
        kept = client.profile is not None
    code = exit_code_of(outcomes.values())
    late = [name for name, outcome in outcomes.items() if outcome is Outcome.STORED] if wait == "delivered" else []
    if late and code == OK:
        code = TIMEOUT
    if terminal.as_json:
        values = {name: outcome.value for name, outcome in outcomes.items()}
        terminal.data("", {
            "v": 1, "type": "sent", "id": b64url(id_), "from": client.user, "everyone": everyone,
            "suite": suite, "recipients": values, "new": new, "exit": code,
        })  # fmt: skip
    for outcome in dict.fromkeys(outcomes.values()):
        names = [name for name, one in outcomes.items() if one is outcome]
        if outcome.safe:
            terminal.say(f"sent to {listing(names)} ({outcome.value}) id={b64url(id_)}")
        elif outcome in (Outcome.CHANGED, Outcome.BLOCKED):
            for name in names:
                error = errors.KeyChanged(user=name) if outcome is Outcome.CHANGED else errors.PeerBlocked(user=name)
                terminal.warn(f"{click.style('not sent:', fg='red')} {error}\nhint: {error.advice}")
        elif outcome is Outcome.UNPROVEN:
            why = "the broker says it was taken, but gave no proof that holds"
            terminal.warn(f"{click.style('unproven', fg='red')} for {listing(names)}: {why}")
        elif outcome.final:
            terminal.warn(f"{click.style('not sent', fg='red')} to {listing(names)}: {outcome_word(outcome)}")
        else:
            slowed = "the broker takes no more from you for now" if outcome is Outcome.RATE else "no answer came in time"
            why = str(problem or slowed).rstrip(".")
            then = "it waits in the outbox, and goes out when this profile next connects" if kept else "nothing was kept"
            terminal.warn(f"{click.style('unanswered', fg='red')} for {listing(names)}: {why}; {then}")
            terminal.warn(f"hint: {'securechat-cli outbox retry' if kept else 'send it again'}")
    if late:
        terminal.warn(f"not fetched yet by {listing(late)}; it waits at the broker")
    if code != OK and problem is not None:
        code = NETWORK
    sys.exit(code)


@click.command()
@click.option("--from", "sender", metavar="USER", help="Only messages from this user.")
@click.option("-n", "--number", type=click.IntRange(1), metavar="N", help="Stop after N messages.")
@click.option("--timeout", type=Duration(), help="Stop with exit code 8 if N messages did not come in this time.")
@click.option(
    "--since",
    metavar="last|all|ID",
    help="Begin where 'listen' stopped last (the default), with all of the history, or after the message ID.",
)
@shared_options
@click.pass_context
def listen(
    context: click.Context,
    /,
    sender: str | None,
    number: int | None,
    timeout: float | None,
    since: str | None,
    **options: Any,
) -> None:
    """Be present, and print messages as they arrive.

    A profile goes on where its last 'listen' stopped: whatever came meanwhile, to the page or to the broker, is printed
    first. Killed in the middle, it may print its last line again, with the same id.

    \b
    securechat-cli --as bob listen
    securechat-cli --as bob listen -n 1 --json | jq -r .text
    """
    settings = merge(context, **options)
    terminal = settings.terminal
    if sender is not None:
        check_name(sender)
    left = number
    with open_client(settings, Mode.FULL, DEFAULT_TIMEOUT, offline=True) as client:
        terminal.say(f"listening as {client.user} on {client.broker.where}, fingerprint {short_fingerprint(client.kid or b'')}")
        teller = _Teller(terminal, client.user)
        for event in client.events(timeout, cursor="listen", since=_since(client, since)):
            if not isinstance(event, MessageReceived):
                teller.tell(event)
            elif sender in (None, event.message.sender):
                for note in order_notes(event.message):
                    terminal.warn(note)
                terminal.data(_message_line(event.message), message_json(event.message))
                left = None if left is None else left - 1
                if left == 0:
                    client.mark_shown("listen")
                    return


def _since(client: ChatClient, since: str | None) -> int | None:
    """The number in the history after which to begin; None for where this profile's ``listen`` stopped."""
    if since in (None, "last"):
        return None
    if client.profile is None:
        raise click.UsageError("--since is for profiles: a guest has no history.")
    if since == "all":
        return 0
    for entry in client.profile.store.history.after(0):
        if isinstance(entry.event, MessageReceived) and b64url(entry.event.message.id) == since:
            return entry.number
    raise click.UsageError(f"No message with the id {since} is in the history; give 'last', 'all' or an ID.")


class _Teller:
    """Says what happened beside the messages; an outage once, however many attempts to connect it takes to be over."""

    def __init__(self, terminal: Terminal, me: str) -> None:
        self._terminal = terminal
        self._me = me
        self._down = False

    def tell(self, event: Event) -> None:
        """Say it."""
        terminal = self._terminal
        match event:
            case Disconnected(why) if not self._down:
                self._down = True
                terminal.say(f"connection lost: {why.rstrip('.')}; trying again")
            case Disconnected():
                pass
            case Welcomed(waiting):
                if self._down:
                    terminal.say("connected again")
                self._down = False
                if waiting:
                    terminal.say(faint(f"{waiting} {'message' if waiting == 1 else 'messages'} waited at the broker"))
            case _:
                _tell(terminal, self._me, event)


def _tell(terminal: Terminal, me: str, event: Event) -> None:
    match event:
        case MessageRefused(who, _, stage):
            terminal.warn(f"a message said to be from {who} was refused: it failed the check '{stage}'")
        case PeerKeyChanged(user, _, kid, accepted):
            terminal.warn(f"{user} now uses another key: {short_fingerprint(kid)}")
            if not accepted:
                terminal.warn(f"hint: {errors.KeyChanged(user=user).advice}")
                if terminal.as_json:
                    terminal.data("", key_changed_json(event))
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


@click.command()
@shared_options
@click.pass_context
def users(context: click.Context, /, **options: Any) -> None:
    """Show who is here, with the fingerprints of their identity keys."""
    settings = merge(context, **options)
    terminal = settings.terminal
    with open_client(settings, Mode.SEND, DEFAULT_TIMEOUT) as client:
        present = client.fetch_users(DEFAULT_TIMEOUT)
    width = max((len(peer.user) for peer in present), default=0)
    for peer in present:
        terminal.data(
            f"{strong(peer.user.ljust(width))}  {peer.kind.value:7}  {short_fingerprint(peer.kid)}  {peer.trust.value}",
            {
                "v": 1,
                "type": "user",
                "user": peer.user,
                "kind": peer.kind.value,
                "fingerprint": fingerprint(peer.kid),
                "trust": peer.trust.value,
            },
        )
    if not present:
        terminal.say("nobody is here")


@click.command()
@shared_options
@click.pass_context
def status(context: click.Context, /, **options: Any) -> None:
    """Show which broker would be used, and whether it answers."""
    settings = merge(context, **options)
    terminal = settings.terminal
    with open_client(settings, Mode.SEND, DEFAULT_TIMEOUT) as client:
        present = client.fetch_users(DEFAULT_TIMEOUT)
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


def _message_line(message: Message) -> str:
    to = " to everyone" if message.everyone else ""
    when = clock(message.ts / 1000) if sys.stdout.isatty() else iso(message.ts)
    lines = text_of(message.content).split("\n")
    first = f"{faint(when)} {strong(message.sender)}{to}: {lines[0]}"
    return "\n".join([first, *(f"    {line}" for line in lines[1:])])
