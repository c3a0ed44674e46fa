"""Profiles that are made quickly, with the published test keys, and what is in them in the end."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from clients.chat import ChatClient
from clients.keystore import Keystore
from clients.profiles import OpenProfile
from core.address import BrokerAddress
from core.events import Event, Message, MessageReceived
from core.messages import Mode
from core.profile import Profile
from scripts.crash.checker import Evidence, Shown
from scripts.crash.journal import read_journal, whole_lines
from scripts.crash.sender import CURSOR
from tests.keys import NAMES, keys_of

_LOGIN_MAX: Final = 30.0


def make_profile(home: Path, name: str, number: int = 0) -> None:
    """Make a profile; those with the same ``number`` modulo the number of test keys share an identity key."""
    keys = keys_of(NAMES[number % len(NAMES)])
    profile = Profile.create(name, keys.signing, keys.opening, os.urandom(32), now=time.time(), random=os.urandom)
    Keystore(home, name).create(profile, None)


@contextlib.contextmanager
def opened(home: Path, name: str) -> Iterator[OpenProfile]:
    """A profile for as long as the context lasts."""
    with contextlib.closing(OpenProfile(home, name, None)) as profile:
        yield profile


def introduce(home: Path, name: str, broker: BrokerAddress) -> None:
    """Let a profile take its name at the broker; its consumers begin with all of its history."""
    with opened(home, name) as profile:
        for cursor in ("listen", CURSOR):
            profile.store.history.move_cursor(cursor, 0)
        client = ChatClient(profile, broker, mode=Mode.SEND, events=False)
        client.start()
        with contextlib.closing(client):
            client.wait_ready(_LOGIN_MAX)


def end_leases(home: Path, name: str) -> None:
    """What a process of this profile had claimed when it was killed is free, as it would be by itself half a minute later."""
    with opened(home, name) as profile:
        profile.store.query("UPDATE outbox SET holder = NULL")


def unsettled(profile: OpenProfile) -> int:
    """How many copies this profile has sent of which it does not know the end."""
    ((number,),) = profile.store.query("SELECT count(*) FROM copies WHERE outcome IN ('queued', 'sent', 'rate', 'stored')")
    return int(number)


def unshown(profile: OpenProfile) -> int:
    """How many entries of the history ``listen`` has not dealt with."""
    history = profile.store.history
    return history.last - (history.cursor("listen") or 0)


def take_down(evidence: Evidence, home: Path, name: str, journal: Path) -> None:
    """Add what is known of a profile to the evidence. No process may be using it."""
    with opened(home, name) as profile:
        events = [entry.event for entry in profile.store.history.after(0)]
        evidence.histories[name] = events
        evidence.journals[name] = read_journal(journal)
        streams = profile.store.query("SELECT kid, sid FROM streams")
        senders = {one.kid: one.sender for one in _messages(events)}
        for kid, sid in streams:
            evidence.gaps[name, senders[kid]] = profile.store.stream(kid, sid).missing


def _messages(events: Sequence[Event]) -> Iterator[Message]:
    return (event.message for event in events if isinstance(event, MessageReceived))


def read_shown(output: Path) -> list[Shown]:
    """What one run of ``listen --json`` printed, without a last line that was cut in two."""
    lines = [msgspec.json.decode(line) for line in whole_lines(output)]
    return [Shown(one["id"], one["from"], one["text"]) for one in lines if one["type"] == "message"]
