"""``history``: what a profile keeps of what was said."""

from __future__ import annotations

from collections import deque
from typing import Any

import click

from clients.cli_completion import complete_conversation
from clients.cli_help import Command
from clients.cli_settings import merge, open_profile, shared_options
from clients.cli_values import Count
from clients.exits import UNLOCKING
from clients.telling import under
from clients.terminal import Terminal, faint, strong
from clients.view import became_of, contains, listing, message_json, moment, order_notes, sent_json, text_of, tick
from core.events import MessageReceived, MessageSent
from core.names import EVERYONE, normalise_name


@click.command(cls=Command, exits=UNLOCKING)
@click.argument("peer", required=False, shell_complete=complete_conversation)
@click.option("--search", metavar="TEXT", help="Only messages that contain TEXT, in whatever case.")
@click.option("-n", "--limit", type=Count(1_000_000), metavar="N", default=50, show_default=True, help="The last N messages.")
@shared_options
@click.pass_context
def history(context: click.Context, /, peer: str | None, search: str | None, limit: int, **options: Any) -> None:
    """Print what this profile sent and received, the oldest first; with PEER, only what was said with them.

    It needs no connection. 'everyone' as PEER means what was said to everyone. What is printed is made harmless for a terminal;
    in JSON that is done by escapes, which 'jq -a' keeps and 'jq -r' undoes.

    \b
    securechat-cli history alice --limit 10
    securechat-cli history --search backup --json | jq -a .text
    """
    settings = merge(context, **options)
    whom = normalise_name(peer) if peer else None
    found: deque[MessageReceived | MessageSent] = deque(maxlen=limit)
    with open_profile(settings) as profile:
        for entry in profile.store.history.after(0):
            event = entry.event
            if isinstance(event, MessageReceived | MessageSent) and concerns(event, whom) and _contains(event, search):
                found.append(event)
        user, outcomes = profile.user, profile.store.history.outcomes()
    for event in found:
        if isinstance(event, MessageReceived):
            _print_received(settings.terminal, event)
        else:
            became = became_of(event, outcomes)
            to = "everyone" if event.everyone else listing(event.to)
            head = f"{faint(moment(event.at / 1000))} {strong(user)} to {to} {faint(f'[{tick(became)}]')}"
            settings.terminal.data(under(settings.terminal, head, text_of(event.content)), sent_json(event, user, became))
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
    content = event.content if isinstance(event, MessageSent) else event.message.content
    return search is None or contains(text_of(content), search)


def _print_received(terminal: Terminal, event: MessageReceived) -> None:
    message = event.message
    for note in order_notes(message):
        terminal.warn(note)
    to = " to everyone" if message.everyone else ""
    head = f"{faint(moment(message.ts / 1000))} {strong(message.sender)}{to}"
    terminal.data(under(terminal, head, text_of(message.content)), message_json(message))
