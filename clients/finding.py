"""Finding a message again by what it says: in all that a profile keeps, or in what a guest's session holds."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final

from clients.chat import ChatClient
from clients.history import StoredHistory
from clients.timeline import LineKind, distinct, message_key, sent_key
from clients.view import contains, text_of
from core.events import MessageReceived, MessageSent
from core.names import EVERYONE

FOUND_MAX: Final = 50


@dataclass(frozen=True, slots=True)
class Found:
    """A message that was found.

    ``key`` is that of its line in the conversation, and no other's in what was found there; ``when`` is in seconds since 1970.
    """

    key: str
    conversation: str
    sender: str
    when: float
    text: str


def find(client: ChatClient, search: str) -> tuple[list[Found], bool]:
    """The newest messages that contain ``search`` in whatever case, the newest first, and whether there are more.

    Raises StoreFailed and RecordDamaged.
    """
    if client.profile:
        all_found = _in_history(client.profile.store.history, client.user, search)
    else:
        all_found = chain.from_iterable(_in_conversation(client, name, search) for name in client.conversations())
    newest = deque(sorted(all_found, key=lambda found: found.when), FOUND_MAX + 1)
    more = len(newest) > FOUND_MAX
    keys: defaultdict[str, set[str]] = defaultdict(set)
    each = [replace(found, key=distinct(found.key, keys[found.conversation])) for found in newest]
    return each[: -FOUND_MAX - 1 : -1], more


def _in_history(history: StoredHistory, me: str, search: str) -> Iterator[Found]:
    for entry in history.after(0):
        match entry.event:
            case MessageReceived(one) if contains(text_of(one.content), search):
                conversation = EVERYONE if one.everyone else one.sender
                yield Found(message_key(one), conversation, one.sender, one.ts / 1000, text_of(one.content))
            case MessageSent(_, to, everyone, _, content, at) as sent if contains(text_of(content), search):
                yield Found(sent_key(sent.id), EVERYONE if everyone else to[0], me, at / 1000, text_of(content))
            case _:
                pass


def _in_conversation(client: ChatClient, conversation: str, search: str) -> Iterator[Found]:
    for line in client.timeline(conversation):
        if line.kind is LineKind.MESSAGE and contains(line.text, search):
            yield Found(line.key, conversation, line.sender, line.when, line.text)
