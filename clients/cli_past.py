"""``history`` and ``outbox``: what a profile keeps of what was said, and of what still waits to be sent."""

from __future__ import annotations

import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import click

from clients.cli_completion import complete_conversation
from clients.cli_settings import DEFAULT_TIMEOUT, Duration, merge, open_client, open_profile, shared_options
from clients.telling import under
from clients.terminal import OK, TIMEOUT, Terminal, faint, strong
from clients.view import contains, content_json, iso, listing, message_json, moment, order_notes, sent_json, text_of, tick
from core import errors
from core.encoding import b64url
from core.events import MessageReceived, MessageSent, Outcome, Receipt
from core.messages import Mode
from core.names import EVERYONE, normalise_name

if TYPE_CHECKING:
    from clients.profiles import OpenProfile


@click.command()
@click.argument("peer", required=False, shell_complete=complete_conversation)
@click.option("--search", metavar="TEXT", help="Only messages that contain TEXT, in whatever case.")
@click.option("--limit", type=click.IntRange(1), metavar="N", default=50, show_default=True, help="The last N messages.")
@shared_options
@click.pass_context
def history(context: click.Context, /, peer: str | None, search: str | None, limit: int, **options: Any) -> None:
    """Print what this profile sent and received, the oldest first; with PEER, only what was said with them.

    It needs no connection. 'everyone' as PEER means what was said to everyone.

    \b
    securechat-cli history alice --limit 10
    securechat-cli history --search backup --json | jq -r .text
    """
    settings = merge(context, **options)
    whom = normalise_name(peer) if peer else None
    found: deque[MessageReceived | MessageSent] = deque(maxlen=limit)
    outcomes: dict[bytes, dict[str, Outcome]] = {}
    with open_profile(settings) as profile:
        for entry in profile.store.history.after(0):
            match entry.event:
                case Receipt(id_, user, outcome):
                    outcomes.setdefault(id_, {})[user] = outcome
                case MessageReceived() | MessageSent() as event if concerns(event, whom) and _contains(event, search):
                    found.append(event)
                case _:
                    pass
        user = profile.user
    for event in found:
        if isinstance(event, MessageReceived):
            _print_received(settings.terminal, event)
        else:
            became = {to: outcomes.get(event.id, {}).get(to, Outcome.QUEUED) for to in event.to}
            to = "everyone" if event.everyone else listing(event.to)
            head = f"{faint(moment(event.at / 1000))} {strong(user)} to {to} {faint(f'[{tick(became)}]')}"
            settings.terminal.data(under(head, text_of(event.content)), sent_json(event, user, became))
    if not found:
        settings.terminal.say("nothing was found")


def concerns(event: MessageReceived | MessageSent, peer: str | None) -> bool:
    """Whether something was said with ``peer``: a name, or ``everyone``; None is whoever it is."""
    people: tuple[str, ...]
    if isinstance(event, MessageSent):
        everyone, people = event.everyone, event.to
    else:
        everyone, people = event.message.everyone, (event.message.sender,)
    return peer is None or (everyone if peer == EVERYONE else not everyone and peer in people)


def _contains(event: MessageReceived | MessageSent, search: str | None) -> bool:
    return search is None or contains(event.content if isinstance(event, MessageSent) else event.message.content, search)


def _print_received(terminal: Terminal, event: MessageReceived) -> None:
    message = event.message
    for note in order_notes(message):
        terminal.warn(note)
    to = " to everyone" if message.everyone else ""
    head = f"{faint(moment(message.ts / 1000))} {strong(message.sender)}{to}"
    terminal.data(under(head, text_of(message.content)), message_json(message))


@click.group(invoke_without_command=True)
@shared_options
@click.pass_context
def outbox(context: click.Context, /, **options: Any) -> None:
    """Show what waits to be sent; 'retry' sends it now, 'drop' gives it up.

    \b
    securechat-cli outbox
    securechat-cli outbox retry
    securechat-cli outbox drop --all
    """
    if context.invoked_subcommand is None:
        _list(context, **options)
    else:
        context.obj = merge(context, **options)


@outbox.command("list")
@shared_options
@click.pass_context
def list_(context: click.Context, /, **options: Any) -> None:
    """Show what waits to be sent, the oldest first."""
    _list(context, **options)


def _list(context: click.Context, **options: Any) -> None:
    settings = merge(context, **options)
    with open_profile(settings) as profile:
        waiting = profile.store.outbox.waiting()
    for one in waiting:
        text = text_of(one.content).replace("\n", " ")
        short = text if len(text) <= 60 else f"{text[:60]}…"
        settings.terminal.data(
            f"{b64url(one.id)}  {faint(moment(one.at / 1000))}  to {listing(one.to)}: {short}",
            {
                "v": 1,
                "type": "waiting",
                "id": b64url(one.id),
                "to": list(one.to),
                "time": iso(one.at),
                **content_json(one.content),
            },
        )
    if not waiting:
        settings.terminal.say("nothing waits to be sent")


@outbox.command()
@click.option("--timeout", type=Duration(), default=DEFAULT_TIMEOUT, help="How long to wait for the answers.  [default: 10s]")
@shared_options
@click.pass_context
def retry(context: click.Context, /, timeout: float, **options: Any) -> None:
    """Connect, and send what waits."""
    settings = merge(context, **options)
    with open_profile(settings) as profile:
        before = len(profile.store.outbox.waiting())
    if not before:
        settings.terminal.say("nothing waits to be sent")
        return
    with open_client(settings, Mode.SEND, max(timeout, DEFAULT_TIMEOUT)) as client:
        if client.profile is None:
            raise errors.ProfileMissing(name=client.user)
        left = _until_sent(client.profile, timeout)
    settings.terminal.say(f"{before - left} of {before} sent" if before > left else f"none of {before} sent yet")
    sys.exit(TIMEOUT if left else OK)


def _until_sent(profile: OpenProfile, timeout: float) -> int:
    """Wait until nothing waits; returns how many envelopes still do after ``timeout`` seconds."""
    until = time.monotonic() + timeout
    while (left := len(profile.store.outbox.waiting())) and time.monotonic() < until:
        time.sleep(0.05)
    return left


@outbox.command()
@click.argument("ids", nargs=-1, metavar="ID...")
@click.option("--all", "everything", is_flag=True, help="Everything that waits.")
@shared_options
@click.pass_context
def drop(context: click.Context, /, ids: tuple[str, ...], everything: bool, **options: Any) -> None:
    """Give up messages that wait to be sent, by the ids that 'outbox' shows. They stay in the history."""
    settings = merge(context, **options)
    if not ids and not everything:
        raise click.UsageError("Say which: an ID from 'securechat-cli outbox', or --all.")
    with open_profile(settings) as profile:
        waiting = profile.store.outbox.waiting()
        known = {b64url(one.id) for one in waiting}
        if unknown := [one for one in ids if one not in known]:
            raise click.UsageError(f"Nothing with the id {unknown[0]} waits to be sent; nothing was dropped.")
        dropped = [one for one in waiting if everything or b64url(one.id) in ids]
        profile.store.drop(dropped, int(time.time() * 1000))
    settings.terminal.say(f"{len({one.id for one in dropped})} dropped")
