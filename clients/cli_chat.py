"""``send``, ``listen``, ``users`` and ``status``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clients.cli_files import save, saved_json
from clients.cli_settings import DEFAULT_TIMEOUT, Duration, merge, open_client, shared_options
from clients.terminal import Terminal, faint, strong
from clients.view import clean, clock, iso, key_changed_json, listing, message_json, order_notes, refusal, text_of
from core import errors
from core.encoding import b64url
from core.events import (
    Disconnected,
    Event,
    Message,
    MessageReceived,
    MessageRefused,
    PeerKeyChanged,
    RosterChanged,
    Welcomed,
)
from core.messages import Mode
from core.names import check_name, fingerprint, short_fingerprint

if TYPE_CHECKING:
    from clients.chat import ChatClient


@click.command()
@click.option("--from", "sender", metavar="USER", help="Only messages from this user.")
@click.option("-n", "--number", type=click.IntRange(1), metavar="N", help="Stop after N messages.")
@click.option("--timeout", type=Duration(), help="Stop with exit code 8 if N messages did not come in this time.")
@click.option(
    "--since",
    metavar="last|all|ID",
    help="Begin where 'listen' stopped last (the default), with all of the history, or after the message ID.",
)
@click.option(
    "--download",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Save the files that come with messages there; nothing is overwritten.",
)
@shared_options
@click.pass_context
def listen(
    context: click.Context,
    /,
    download: Path | None,
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
    securechat-cli listen --download inbox
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
                saved = save(client, terminal, event.message.content, download)
                terminal.data(_message_line(event.message, saved), {**message_json(event.message), **saved_json(saved)})
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
            terminal.warn(f"a message said to be from {who} was refused: {refusal(stage)}")
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


def _message_line(message: Message, saved: Path | None) -> str:
    to = " to everyone" if message.everyone else ""
    when = clock(message.ts / 1000) if sys.stdout.isatty() else iso(message.ts)
    lines = (text_of(message.content) + (f" saved as {clean(str(saved))}" if saved else "")).split("\n")
    first = f"{faint(when)} {strong(message.sender)}{to}: {lines[0]}"
    return "\n".join([first, *(f"    {line}" for line in lines[1:])])
