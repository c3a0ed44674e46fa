"""``chat``: a conversation at a prompt."""

from __future__ import annotations

import sys
from typing import Any

import click

from clients.cli_completion import complete_conversation
from clients.cli_help import Command
from clients.cli_settings import DEFAULT_TIMEOUT, connected, merge, open_identity, shared_options
from clients.exits import CONNECTING, LIMIT, OK, PARTIAL, TIMEOUT
from core.messages import Mode
from core.names import EVERYONE, check_name, normalise_name


@click.command(cls=Command, exits=CONNECTING | {LIMIT, PARTIAL, TIMEOUT}, words={OK: "all that you sent is stored or arrived"})
@click.argument("peer", required=False, shell_complete=complete_conversation)
@shared_options
@click.pass_context
def chat(context: click.Context, /, peer: str | None, **options: Any) -> None:
    """Talk in this terminal: with PEER, or with everyone who is here; a profile, with each that it has met, too.

    Whatever arrives is shown above the line that you type, and below it what became of what you sent. '/help' lists what else
    can be typed; Tab completes names, the arrow keys bring back what you typed before, Alt-Enter begins a new line, and what
    is pasted is one message. Ctrl-D ends it, with 0 only if all that you sent came at least as far as the broker's disk.

    A profile begins where its last 'chat' stopped. Nothing that you type is written to disk but its messages, encrypted.

    \b
    securechat-cli --as bob chat
    securechat-cli chat alice
    """
    settings = merge(context, **options)
    if settings.as_json:
        raise click.UsageError("'chat' is for people; programs have 'listen --json' and 'send --json'.")
    if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout)):
        raise click.UsageError("'chat' needs a terminal. Without one: securechat-cli send, and securechat-cli listen")
    to = normalise_name(peer) if peer else EVERYONE
    if to != EVERYONE:
        check_name(to)
    with open_identity(settings) as who:
        from clients.prompting import Before, before_chat, run

        before = Before() if isinstance(who, str) else before_chat(who, to)
        with connected(settings, who, Mode.FULL, DEFAULT_TIMEOUT, offline=True) as client:
            sys.exit(run(client, settings.terminal, to, before))
