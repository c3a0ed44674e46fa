"""``listen``, ``users`` and ``status``."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clients.cli_completion import complete_peer
from clients.cli_files import check_folder, save, saved_json
from clients.cli_help import Command
from clients.cli_settings import DEFAULT_TIMEOUT, is_nameless, merge, open_client, shared_options
from clients.cli_values import Count, Duration, Place
from clients.exits import CONNECTING, TIMEOUT
from clients.telling import Teller, message_line, person_line
from clients.view import listing, message_json, order_notes
from core.encoding import b64url, from_b64url
from core.errors import FileUnwritable
from core.events import Message, MessageReceived
from core.messages import Mode
from core.names import check_name, fingerprint, normalise_name, short_fingerprint

if TYPE_CHECKING:
    from clients.chat import ChatClient
    from clients.terminal import Terminal


@click.command(cls=Command, exits=CONNECTING | {TIMEOUT})
@click.option("--from", "sender", metavar="USER", shell_complete=complete_peer, help="Only messages from this user.")
@click.option("-n", "--number", type=Count(2**31), metavar="N", help="Stop after N messages.")
@click.option("--timeout", type=Duration(), help="Stop with exit code 8 if N messages did not come in this time.")
@click.option(
    "--since",
    metavar="last|all|ID",
    help="Begin where 'listen', or its handler, stopped last (the default), with all of the history, or after the message ID.",
)
@click.option(
    "--download",
    type=Place(file_okay=False),
    metavar="DIR",
    help="Save the files that come with messages there; nothing is overwritten.",
)
@click.option("--exec", "handler", metavar="CMD", help="Run 'sh -c CMD' for each message, instead of printing it.")
@shared_options
@click.pass_context
def listen(
    context: click.Context,
    /,
    download: Path | None,
    handler: str | None,
    sender: str | None,
    number: int | None,
    timeout: float | None,
    since: str | None,
    **options: Any,
) -> None:
    """Be present, and print messages as they arrive.

    A profile goes on where its last 'listen' stopped: whatever came meanwhile, to the page or to the broker, is printed
    first. Killed in the middle, it may print its last line again, with the same id. The first time, it begins with what was
    not fetched from the broker before.

    With --exec, CMD gets the text on its standard input (with --json: the line that would be printed) and in its environment
    SECURECHAT_FROM, SECURECHAT_TO (names, or 'everyone'), SECURECHAT_ID, SECURECHAT_TIME, SECURECHAT_TRUST,
    SECURECHAT_CONTENT (text, file or unknown) and, with --download, SECURECHAT_FILE, unless the file could not be had or is
    larger than the disk has room for. Quote them as "$SECURECHAT_FROM": senders choose what is in them. The text is as it was
    sent: it may begin with '-', have many lines, and hold what makes a terminal do things. In the line of JSON all of that is
    written with escapes, which 'jq -a' keeps and 'jq -r' undoes. Keep the text out of the arguments of what CMD runs: other
    users of the machine can read those.

    Messages are handled one by one, each until CMD ends with exit code 0; any other one ends 'listen' with exit code 1, and a
    profile begins with the same message when it is started again. How far a profile's messages are handled, whatever CMD is,
    is remembered apart from how far they are printed, and so is each with '--from USER'. Two that run at once handle each
    message twice. SIGTERM, SIGHUP and Ctrl-C reach CMD and all that it started; what has not ended 10 seconds later is
    killed. CMD has no terminal to ask at.

    \b
    securechat-cli --as bob listen
    securechat-cli --as bob listen -n 1 --json | jq -a .text
    securechat-cli listen --download inbox
    securechat-cli listen --exec 'notify-send "a message from $SECURECHAT_FROM"'
    """
    settings = merge(context, **options)
    terminal = settings.terminal
    if sender is not None:
        sender = check_name(normalise_name(sender))
    if handler is not None and not handler.strip():
        raise click.UsageError("--exec needs a command.")
    if download is not None:
        check_folder(download)
    left = number
    place = "listen" if handler is None else "exec"  # what was printed was not handled
    cursor = place if sender is None else f"{place}:{sender}"  # nor has who looks for one sender seen what others sent
    with open_client(settings, Mode.FULL, DEFAULT_TIMEOUT, offline=True) as client:
        if is_nameless(client):
            terminal.say("a guest identity was made for this, which nobody knows; --as NAME chooses another")
        terminal.say(f"listening as {client.user} on {client.broker.where}, fingerprint {short_fingerprint(client.kid or b'')}")
        teller = Teller(terminal, client.user)
        for event in client.events(timeout, cursor=cursor, since=_begin(client, cursor, place, since)):
            if not isinstance(event, MessageReceived):
                teller.tell(event)
            elif sender in (None, event.message.sender):
                for note in order_notes(event.message):
                    terminal.warn(note)
                stopped_by = _hand_over(client, terminal, event.message, download, handler)
                left = None if left is None else left - 1
                if left == 0 or stopped_by:
                    client.mark_shown(cursor)
                    if stopped_by:
                        signal.raise_signal(stopped_by)
                    return
        if client.status.error is not None:  # the broker would not have this client back
            raise client.status.error


def _hand_over(
    client: ChatClient, terminal: Terminal, message: Message, download: Path | None, handler: str | None
) -> int | None:
    """Print a message, or have it handled: then what may be mended keeps it from counting as handled.

    Returns the number of a signal that came meanwhile and is still to be raised.
    """
    if handler is None:
        saved = save(client, terminal, message, download)
        terminal.data(message_line(terminal, message, saved), {**message_json(message), **saved_json(saved)})
        return None
    from clients.handler import handle, not_handled

    kept = client.profile is not None
    try:
        saved = save(client, terminal, message, download, insist=True)
    except FileUnwritable as error:
        raise not_handled(message, str(error).rstrip("."), kept=kept) from error
    return handle(handler, message, saved, as_json=terminal.as_json, kept=kept)


def _begin(client: ChatClient, cursor: str, place: str, since: str | None) -> int | None:
    """The number in the history after which to begin; None for where ``cursor`` stands.

    Whoever looks for one sender for the first time goes on where all were looked for, which is ``place``.
    """
    if client.profile is None:
        if since not in (None, "last"):
            raise click.UsageError("--since is for profiles: a guest has no history.")
        return None
    history = client.profile.store.history
    own = history.cursor(cursor)
    stopped = history.cursor(place) if own is None else own
    if since in (None, "last"):
        return stopped if own is None else None
    if since == "all":
        return 0
    found = None
    with contextlib.suppress(ValueError):
        found = history.number_of(from_b64url(str(since)), stopped)
    if found is None:
        raise click.UsageError(f"No message with the id {since} is in the history; give 'last', 'all' or an ID.")
    return found


@click.command(cls=Command, exits=CONNECTING)
@shared_options
@click.pass_context
def users(context: click.Context, /, **options: Any) -> None:
    """Show who is here, with the fingerprints of their identity keys, and how those stand with you.

    \b
    securechat-cli users
    securechat-cli users --json | jq -r .user
    """
    settings = merge(context, **options)
    terminal = settings.terminal
    with open_client(settings, Mode.SEND, DEFAULT_TIMEOUT) as client:
        present = client.fetch_users(DEFAULT_TIMEOUT)
    width = max((len(peer.user) for peer in present), default=0)
    for peer in present:
        terminal.data(
            person_line(peer, width),
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


@click.command(cls=Command, exits=CONNECTING)
@shared_options
@click.pass_context
def status(context: click.Context, /, **options: Any) -> None:
    """Show which broker would be used, and whether it answers.

    \b
    securechat-cli status
    securechat-cli -q status || echo 'no chat today'
    """
    settings = merge(context, **options)
    terminal = settings.terminal
    with open_client(settings, Mode.SEND, DEFAULT_TIMEOUT) as client:
        present = client.fetch_users(DEFAULT_TIMEOUT)
    names = listing(peer.user for peer in present) or "nobody"
    terminal.data(
        f"broker      {client.broker.where}\nbroker key  {b64url(client.broker.key)}\nhere        {names}",
        {"v": 1, "type": "status", "broker": client.broker.url, "connected": True, "users": len(present)},
    )
