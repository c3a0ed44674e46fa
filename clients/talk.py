"""What ``chat`` does with what is typed, and how it shows what happens; how lines are read and drawn is the prompt's."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from clients.chronicle import ConnectionState
from clients.cli_trust import accept, same_number, show_number
from clients.files import check_file
from clients.talk_files import Above, Transfers
from clients.telling import Teller, message_line, person_line, sent_line
from clients.terminal import Terminal, faint
from clients.ticks import Ticks
from clients.view import clean, listing, order_notes, outcome_word, text_of
from core import errors
from core.content import File
from core.events import (
    Disconnected,
    Event,
    MessageReceived,
    MessageRefused,
    MessageSent,
    Outcome,
    PeerKeyChanged,
    Receipt,
    RosterChanged,
    Trust,
    Welcomed,
)
from core.names import EVERYONE, check_name, normalise_name, short_fingerprint

if TYPE_CHECKING:
    from clients.chat import ChatClient
    from core.memory import Pin

COMMANDS: Final = {
    "to": "/to NAME              talk to NAME",
    "everyone": "/everyone             talk to everyone who is here",
    "users": "/users                who is here, with fingerprints and trust",
    "verify": "/verify [NAME]        the number to compare with NAME; then /verify NAME yes",
    "trust": "/trust [NAME]         accept the key that NAME uses now, or end a block",
    "block": "/block [NAME]         send nothing to NAME, and take nothing from them",
    "file": "/file PATH            send a file",
    "save": "/save [FOLDER]        fetch the last file of this conversation",
    "help": "/help                 this list; a line that begins with // is sent with one /",
    "quit": "/quit                 leave (Ctrl-D)",
}
_START: Final = 40  # characters by which a message is recognised


class Talk:
    """One person's side of it. ``to`` is a name, or ``everyone``. For the thread of the event loop only.

    ``ticks`` may hold messages from before. ``above`` runs what prints while a line is being typed; ``changed`` is called,
    from any thread, when ``state`` has changed.
    """

    def __init__(
        self, client: ChatClient, terminal: Terminal, to: str, ticks: Ticks, above: Above, changed: Callable[[], None]
    ) -> None:
        self._client = client
        self._terminal = terminal
        self._to = to
        self._teller = Teller(terminal, client.user, _advice)
        self._pins: dict[str, Pin] = {}
        self._files: dict[str, tuple[File, str]] = {}  # conversation -> the last file that came there, and from whom
        self._transfers = Transfers(client.files, terminal, above, changed)
        self.ticks: Final = ticks
        self.sent: Final[list[bytes]] = []
        self.over = False

    # What is shown

    def welcome(self) -> None:
        """Say who one is, and how to learn more."""
        client = self._client
        kid = short_fingerprint(client.kid or b"")
        self._terminal.say(f"talking as {client.user} on {client.broker.where}, fingerprint {kid}")
        self._terminal.say(faint("/help shows what can be typed"))

    def prompt(self) -> str:
        """To whom a line goes that is typed now."""
        verified = self._to != EVERYONE and self._standing(self._to) is Trust.VERIFIED
        return f"{self._to}{' ✓' if verified else ''}> "

    def state(self) -> str:
        """How things stand, in a line."""
        offline = "" if self._client.status.state is ConnectionState.ONLINE else "no connection; trying again"
        return " · ".join(one for one in (self._client.user, offline, self.transfers, self.ticks.summary()) if one)

    @property
    def transfers(self) -> str:
        """How far the files are that are on their way; empty without any."""
        return self._transfers.state

    @property
    def failures(self) -> set[int]:
        """The exit codes of the files that could not be uploaded."""
        return self._transfers.failures

    def names(self) -> list[str]:
        """Whom one may mean."""
        known = {peer.user for peer in self._client.audience()} | set(self._client.conversations())
        return sorted(known - {EVERYONE})

    def is_worth_a_line(self, event: Event) -> bool:
        """Whether ``show`` would print something; else only the state changes."""
        match event:
            case MessageReceived() | MessageSent() | MessageRefused() | PeerKeyChanged():
                return True
            case RosterChanged() | Disconnected() | Welcomed():
                return True
            case Receipt(_, _, outcome):
                return outcome.final and not outcome.safe
            case _:
                return False

    def show(self, event: Event) -> None:
        """Show what happened."""
        match event:
            case MessageReceived(message):
                for note in order_notes(message):
                    self._terminal.warn(note)
                self._terminal.data(message_line(self._terminal, message), {})
                if isinstance(message.content, File):
                    place = EVERYONE if message.everyone else message.sender
                    self._files[place] = message.content, message.sender
                    there = "" if place == self._to else "/everyone, then " if message.everyone else f"/to {place}, then "
                    self._terminal.say(faint(f"{there}/save fetches it"))
            case MessageSent():
                self.ticks.sent(event)
                self._terminal.data(sent_line(self._terminal, event, self._client.user), {})
            case Receipt(_, user, outcome):
                if lost := self.ticks.receipt(event):
                    self._lost(lost, user, outcome)
            case _:
                self._teller.tell(event)

    def _lost(self, sent: MessageSent, user: str, outcome: Outcome) -> None:
        self._terminal.warn(f"{click.style('not sent', fg='red')} to {user}: {outcome_word(outcome)}: {_beginning(sent)}")
        if outcome in (Outcome.CHANGED, Outcome.BLOCKED):
            self._terminal.warn(f"hint: {_advice(user) if outcome is Outcome.CHANGED else _unblock(user)}")

    def open(self, ids: Iterable[bytes]) -> list[str]:
        """Those of these messages whose fate is open: to whom each is, and how it begins."""
        found = [sent for id_ in ids if (sent := self.ticks.open(id_))]
        return [f"to {'everyone' if sent.everyone else listing(sent.to)}: {_beginning(sent)}" for sent in found]

    # What is typed

    def take(self, typed: str) -> str:
        """Do what a line says; returns what is to stand at the prompt again: a message that could not be sent."""
        if not typed.strip():
            return ""
        command = typed.startswith("/") and not typed.startswith("//") and "\n" not in typed
        try:
            if command:
                word, _, rest = typed[1:].partition(" ")
                self._command(word, rest.strip())
            else:
                self._send(typed.removeprefix("/") if typed.startswith("//") else typed, self._to)
        except _Unclear as unclear:
            self._terminal.warn(str(unclear))
        except (errors.KeyChanged, errors.PeerBlocked) as error:  # their own hints are commands of the shell
            self._terminal.warn(f"{click.style('error:', fg='red')} {error}")
            user = str(error.fields["user"])
            self._terminal.warn(f"hint: {_advice(user) if isinstance(error, errors.KeyChanged) else _unblock(user)}")
        except errors.SecureChatError as error:
            self._terminal.complain(error)
        else:
            return ""
        if command:
            return ""
        self._terminal.say(faint("what you typed stands there again; Ctrl-U takes it away"))
        return typed

    def _send(self, what: str | File, to: str) -> None:
        if to != EVERYONE and self._client.others:
            self._client.others.check(to)
        self.sent.append(self._client.send(what, to))

    def _command(self, word: str, rest: str) -> None:
        match word:
            case "to":
                name = normalise_name(self._named(rest))
                self._to = name if name == EVERYONE else check_name(name)
                if name not in {EVERYONE, *(peer.user for peer in self._client.users())}:
                    self._terminal.say(faint(f"{name} is not here now"))
            case "everyone":
                self._to = EVERYONE
            case "users":
                self._users()
            case "verify":
                self._verify(rest)
            case "trust":
                if self._client.others:
                    self._terminal.say(accept(self._client.others, normalise_name(self._named(rest)))[1])
            case "block":
                if self._client.others:
                    name = self._client.others.block(normalise_name(self._named(rest))).user
                    self._terminal.say(f"{name} is blocked; {_unblock(name)}")
            case "file":
                path = _place(_given(rest, "which file"))
                check_file(path)
                to = self._to
                self._transfers.upload(path, lambda file: self._send(file, to))
            case "save":
                if self._to not in self._files:
                    where = "to everyone" if self._to == EVERYONE else f"from {self._to}"
                    raise _Unclear(f"No file has come {where} since this chat began.")
                file, sender = self._files[self._to]
                folder = _place(rest or ".")
                self._terminal.say(f"fetching {clean(file.name)} from {sender}")
                self._transfers.download(file, folder)
            case "help":
                self._terminal.say("\n".join(COMMANDS.values()))
            case "quit":
                self.over = True
            case _:
                raise _Unclear(
                    f"There is no /{clean(word)}: /help lists what there is; // at the beginning sends a line with one /."
                )

    def _named(self, rest: str) -> str:
        """The name given, or else whom one talks to."""
        return _given(rest or ("" if self._to == EVERYONE else self._to), "whom")

    def _users(self) -> None:
        present = self._client.users()
        width = max((len(peer.user) for peer in present), default=0)
        for peer in present:
            self._terminal.data(person_line(peer, width), {})
        if not present:
            self._terminal.say("nobody else is here")

    def _standing(self, user: str) -> Trust:
        return self._client.others.standing(user) if self._client.others else Trust.NEW

    def _verify(self, rest: str) -> None:
        """Show the number; or take the word of a person who has compared it, or the number that the other one reads out."""
        others = self._client.others
        if others is None:
            return
        first, _, answer = rest.partition(" ")
        name = normalise_name(self._named(first))
        if not answer:
            pin = self._pins[name] = others.pin(name)
            show_number(self._terminal, self._client.user, name, others.number(pin), changed=pin.offered is not None)
            self._terminal.say(f"Compare it with {name} over another channel. Do both show the same? /verify {name} yes")
            return
        if name not in self._pins:
            raise _Unclear(f"First look at the number: /verify {name}")
        shown = self._pins[name]
        if answer != "yes" and not same_number(answer, others.number(shown)):
            raise _Unclear(f"That is another number. Somebody may sit between you and {name}.")
        others.verify(shown)  # raises if the key is no longer the one whose number was shown
        self._terminal.say(f"{name} is verified")


def _beginning(sent: MessageSent) -> str:
    text = " ".join(text_of(sent.content).split())
    return text if len(text) <= _START else f"{text[:_START]}..."


class _Unclear(Exception):
    """What was typed cannot be done as it stands."""


def _given(rest: str, what: str) -> str:
    if not rest:
        raise _Unclear(f"Say {what}; /help shows how.")
    return rest


def _place(typed: str) -> Path:
    """Where on this machine something is; that need not exist."""
    try:
        path = Path(typed).expanduser()  # RuntimeError for ~ and a name that nobody has here
        if b"\0" in os.fsencode(path):  # ValueError for what the file system's encoding does not have
            raise ValueError
    except (RuntimeError, ValueError):
        raise _Unclear(f"{clean(typed)} is no place on this machine.") from None
    return path


def _advice(user: str) -> str:
    return f"compare numbers over another channel: /verify {user}; then accept it: /trust {user}"


def _unblock(user: str) -> str:
    return f"undo it with: /trust {user}"
