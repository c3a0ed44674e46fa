"""A program of the user's that is run for each message that comes."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from clients.cli_files import saved_json
from clients.group import Group
from clients.programs import how_it_ended
from clients.view import iso, message_json, text_of
from core.content import File, Text
from core.encoding import b64url
from core.errors import SecureChatError
from core.events import Message
from core.names import EVERYONE


class HandlerFailed(SecureChatError):
    """The message {id} from {user} does not count as handled: {why}."""

    hint = "{advice}"


def handle(command: str, message: Message, saved: Path | None, *, as_json: bool, kept: bool) -> int | None:
    """Run a line of shell for a message; raises HandlerFailed unless it ends with exit code 0.

    Ctrl-C and SIGTERM reach it, too, and this program when it has ended: returned is the number of one that is still to be
    raised, because the message was handled all the same.

    What a message holds reaches it through its environment and its standard input only: no sender has a say in what is run.
    ``saved`` is where the message's file is; ``kept`` is whether there is a history from which it can come again.
    """
    given = _variables(message, saved)
    # In bytes, because the locale's encoding may not have every character of a path.
    environment: dict[bytes, bytes] = {**os.environb, **{name.encode(): os.fsencode(value) for name, value in given.items()}}
    if saved is None:
        environment.pop(b"SECURECHAT_FILE", None)  # from a handler that this one was started by
    group = Group()
    try:
        returned = group.run(["sh", "-c", command], environment, _said(message, saved, as_json))
    except OSError as error:
        raise not_handled(message, f"the command could not be started: {error.strerror}", kept=kept) from error
    if returned != 0:
        if group.stopped_by is not None:
            signal.raise_signal(group.stopped_by)
        raise not_handled(message, f"the command {how_it_ended(returned)}", kept=kept)
    return group.stopped_by


def not_handled(message: Message, why: str, *, kept: bool) -> HandlerFailed:
    """What to raise for a message that is to come again, if it is ``kept`` in a history."""
    id_ = b64url(message.id)
    again = f"Mend it and start again: the same message comes first. To pass over it, add once: --since {id_}"
    lost = "A guest has no history to go on from; with a profile ('securechat-cli init NAME') the same message comes again."
    return HandlerFailed(why=why, user=message.sender, id=id_, advice=again if kept else lost)


def _variables(message: Message, saved: Path | None) -> dict[str, str]:
    """What it is told in its environment; nothing in it is free text, which could hold what no environment can."""
    content = message.content
    return {
        "SECURECHAT_FROM": message.sender,
        "SECURECHAT_TO": EVERYONE if message.everyone else " ".join(message.to),
        "SECURECHAT_ID": b64url(message.id),
        "SECURECHAT_TIME": iso(message.ts),
        "SECURECHAT_TRUST": message.trust.value,
        "SECURECHAT_CONTENT": "text" if isinstance(content, Text) else "file" if isinstance(content, File) else "unknown",
        **({"SECURECHAT_FILE": str(saved.absolute())} if saved else {}),
    }


def _said(message: Message, saved: Path | None, as_json: bool) -> bytes:
    """What it reads: a text as it was sent, or in words what else came; as JSON all that ``listen --json`` prints."""
    if as_json:
        return json.dumps({**message_json(message), **saved_json(saved)}).encode() + b"\n"
    content = message.content
    return (content.text if isinstance(content, Text) else text_of(content)).encode()
