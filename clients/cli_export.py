"""``export``: a profile's history to keep and to read elsewhere."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clients.cli_completion import complete_conversation
from clients.cli_help import Command
from clients.cli_past import concerns
from clients.cli_settings import merge, open_profile, shared_options
from clients.cli_values import Place
from clients.exits import UNLOCKING
from clients.export import MarkdownExport
from clients.terminal import Terminal
from clients.view import became_of, message_json, sent_json
from core.events import MessageReceived, MessageSent
from core.names import normalise_name

if TYPE_CHECKING:
    from clients.profiles import OpenProfile

_Put = Callable[[str, dict[str, object] | None], None]
"""Writes something for people or, if JSON is asked for, its values; None for what has none."""


@click.command(cls=Command, exits=UNLOCKING)
@click.argument("peer", required=False, shell_complete=complete_conversation)
@click.option(
    "-o",
    "--output",
    type=Place(),
    metavar="FILE",
    help="A new file to write to; nothing is overwritten. '-' is standard output.",
)
@shared_options
@click.pass_context
def export(context: click.Context, /, peer: str | None, output: Path | None, **options: Any) -> None:
    """Print this profile's whole history as Markdown; with --json, one object a line in the form of 'history --json'.

    With PEER, only what was said with them; 'everyone' means what was said to everyone. It needs no connection. Of files only
    the names are in it.

    \b
    securechat-cli export -o history.md
    securechat-cli export alice --json -o alice.ndjson
    """
    settings = merge(context, **options)
    terminal = settings.terminal
    if output == Path("-"):
        output = None
    whom = normalise_name(peer) if peer else None
    with open_profile(settings) as profile, _target(terminal, output) as put:
        count = _write(profile, whom, put)
    if output is not None:
        terminal.say(f"{count} {'message' if count == 1 else 'messages'} written to {output}")
    elif not count:
        terminal.say("nothing was found")


@contextlib.contextmanager
def _target(terminal: Terminal, output: Path | None) -> Iterator[_Put]:
    def show(text: str, values: dict[str, object] | None) -> None:
        if not terminal.as_json or values is not None:
            terminal.data(text.removesuffix("\n"), values or {})

    if output is None:
        yield show
        return
    from clients.new_file import new_file

    with new_file(output) as file:

        def write(text: str, values: dict[str, object] | None) -> None:
            if not terminal.as_json:
                file.write(text.encode())
            elif values is not None:
                file.write(json.dumps(values).encode() + b"\n")

        yield write


def _write(profile: OpenProfile, whom: str | None, put: _Put) -> int:
    """Write what was said; returns how many messages it was."""
    history, user = profile.store.history, profile.user
    outcomes = history.outcomes()
    markdown = MarkdownExport(user, whom)
    count = 0
    put(markdown.title(time.time()), None)
    for entry in history.after(0):
        event = entry.event
        if not isinstance(event, MessageReceived | MessageSent) or not concerns(event, whom):
            continue
        count += 1
        if isinstance(event, MessageReceived):
            put(markdown.received(event), message_json(event.message))
        else:
            became = became_of(event, outcomes)
            put(markdown.sent(event, became), sent_json(event, user, became))
    return count
