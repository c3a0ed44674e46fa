"""What ``listen`` and ``chat`` tell: messages as lines, and what happens around them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from clients.folding import cells, folded
from clients.terminal import Terminal, faint, strong
from clients.view import clean, clock, iso, key_changed_json, key_news, listing, refusal, text_of
from core import errors
from core.events import Disconnected, Event, Message, MessageRefused, MessageSent, PeerKeyChanged, RosterChanged, Welcomed
from core.names import short_fingerprint

if TYPE_CHECKING:
    from clients.chat import Peer

_INDENT: Final = "    "


def message_line(terminal: Terminal, message: Message, saved: Path | None = None) -> str:
    """A message that came; ``saved`` is where its file is now."""
    to = " to everyone" if message.everyone else ""
    text = text_of(message.content) + (f" saved as {clean(str(saved))}" if saved else "")
    return under(terminal, f"{faint(_time(message.ts))} {strong(message.sender)}{to}", text)


def sent_line(terminal: Terminal, sent: MessageSent, me: str) -> str:
    """A message of one's own."""
    to = "everyone" if sent.everyone else listing(sent.to)
    return under(terminal, f"{faint(_time(sent.at))} {strong(me)} to {to}", text_of(sent.content))


def person_line(peer: Peer, width: int) -> str:
    """Somebody who is here; ``width`` is the longest name's."""
    return f"{strong(peer.user.ljust(width))}  {peer.kind.value:7}  {short_fingerprint(peer.kid)}  {peer.trust.value}"


def under(terminal: Terminal, head: str, text: str) -> str:
    """A text behind who said it, its further lines set in, also those that would be none if the terminal were wider."""
    lines = text.split("\n")
    if columns := terminal.columns:
        first, later = columns - cells(terminal.shown(click.unstyle(f"{head}: "))), max(columns - len(_INDENT), 2)
        rooms = [first, *[later] * len(lines)]
        # What the terminal's encoding does not have is longer in its place.
        lines = [piece for line, room in zip(lines, rooms, strict=False) for piece in folded(terminal.shown(line), room, later)]
    return "\n".join([f"{head}: {lines[0]}", *(f"{_INDENT}{line}" for line in lines[1:])])


def advice(user: str) -> str:
    """What to do about a changed key, in commands."""
    return errors.KeyChanged(user=user).advice


class Teller:
    """Says what happened beside the messages; each reason for an outage once, however many attempts to connect it takes.

    ``advice`` words what to do about somebody's changed key.
    """

    def __init__(self, terminal: Terminal, me: str, advice: Callable[[str], str] = advice) -> None:
        self._terminal = terminal
        self._me = me
        self._advice = advice
        self._outage: set[str] = set()  # the reasons that were told; empty while connected

    def tell(self, event: Event) -> None:
        """Say it."""
        terminal = self._terminal
        match event:
            case Disconnected(why) if why not in self._outage:
                what = "still not connected" if self._outage else "connection lost"
                self._outage.add(why)
                terminal.say(f"{what}: {why.rstrip('.')}; trying again")
            case Welcomed(waiting):
                if self._outage:
                    terminal.say("connected again")
                self._outage.clear()
                if waiting:
                    terminal.say(faint(f"{waiting} {'message' if waiting == 1 else 'messages'} waited at the broker"))
            case MessageRefused(who, _, stage):
                terminal.warn(f"a message said to be from {who} was refused: {refusal(stage)}")
            case PeerKeyChanged(accepted=True) as change:
                terminal.say(faint(key_news(change)))
            case PeerKeyChanged(user=user) as change:
                terminal.warn(key_news(change))
                terminal.warn(f"hint: {self._advice(user)}")
                if terminal.as_json:
                    terminal.data("", key_changed_json(change))
            case RosterChanged(joined, _, initial) if initial:
                others = [entry.user for entry in joined if entry.user != self._me]
                terminal.say(faint(f"connected; here: {listing(others) or 'nobody else yet'}"))
            case RosterChanged(joined, left, _):
                for verb, entries in (("joined", joined), ("left", left)):
                    for entry in entries:
                        if entry.user != self._me:
                            terminal.say(faint(f"{entry.user} {verb}"))
            case _:
                pass


def _time(ms: int) -> str:
    """The time of day for a person who looks on; in full for a file."""
    return clock(ms / 1000) if sys.stdout.isatty() else iso(ms)
