"""What the attacks share: a world with a log of names, profiles, hand-made deliveries, and recipients that count."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from core import frames
from core.bundle import Kind, SignedBundle, Suite, sign_bundle
from core.encoding import b64url
from core.envelope import direct_cid
from core.errors import InvalidEnvelope
from core.events import MessageRefused, PeerKeyChanged
from core.frames import Frames
from core.identity import Identity
from core.memory import Memory
from core.messages import Bundles, Deliver, Found, Mode
from core.opening import Delivery, Opened, Recipient, open_envelope
from core.profile import Profile
from core.rsa import OpeningKey, Purpose, SealKey
from tests.broker.raw import Raw
from tests.forge import KIND_OF, Draft
from tests.keys import BROKER_KEY, CountingKey, Keys, keys_of
from tests.pairs import START, Client, Tamper, World

NOW_MS = START.ms
SUITES = pytest.mark.parametrize("suite", [Suite.HYBRID, Suite.CHUNKED])


class Town(World):
    """A world with profiles, whose broker hands out what it likes."""

    def profile(self, user: str, memory: Memory | None = None, *, keys: Keys | None = None, seq: int = 1) -> Client:
        """A profile's client that is not connected."""
        keys = keys or keys_of(user)
        return self.enter(profile_identity(user, keys, seq=seq), memory, keys)

    def enter(self, identity: Identity, memory: Memory | None, keys: Keys) -> Client:
        """A client with this identity and memory that is not connected."""
        return self.adopt(identity, Mode.FULL, keys, memory)

    def join_profile(self, user: str, memory: Memory | None = None, *, keys: Keys | None = None) -> Client:
        """A profile's client that is logged in, and whom everybody knows of."""
        client = self.profile(user, memory, keys=keys)
        self.connect(client)
        self.tick()
        return client

    def hand(self, client: Client, raw: Sequence[bytes]) -> None:
        """Give this client a message that the broker made by hand."""
        client.events += client.session.receive(list(raw), self.now)

    def hand_delivery(self, client: Client, one: Delivery, copy: int = 999) -> None:
        """Give this client an envelope."""
        self.hand(client, frames.deliver(copy.to_bytes(8, "big"), one.mid, one.sender, one.common, one.wrap))


def at(town: Town, key: bytes | None = None) -> Raw:
    """A connection that proved to hold this CURVE key."""
    return Raw(town, os.urandom(5), key or os.urandom(32))


def profile_of(user: str, keys: Keys | None = None) -> Profile:
    """A profile with the keys of its name, unless given."""
    keys = keys or keys_of(user)
    return Profile.create(user, keys.signing, keys.opening, os.urandom(32), now=START.wall, random=os.urandom)


def profile_identity(user: str, keys: Keys | None = None, *, seq: int = 1) -> Identity:
    """A profile's identity; ``seq`` above 1 stands for a key that was rotated that often."""
    profile = profile_of(user, keys)
    for _ in range(seq - 1):
        profile = profile.rotated(profile.keys[-1].key, START.wall)
    return profile.identity(os.urandom(32))


def stages(client: Client) -> list[str]:
    """The checks at which this client's refused messages failed."""
    return [event.stage for event in client.events if isinstance(event, MessageRefused)]


def changes(client: Client) -> list[PeerKeyChanged]:
    """What this client was told of changed keys."""
    return [event for event in client.events if isinstance(event, PeerKeyChanged)]


def record(client: Client, *, deliver: bool = True) -> list[Frames]:
    """Every copy that comes for this client from now on; withheld from it unless ``deliver``."""
    copies: list[Frames] = []
    before = client.to_client

    def tamper(raw: Frames) -> Sequence[Frames]:
        if raw[0][:1] == b"D":
            copies.append(list(raw))
            if not deliver:
                return []
        return before(raw)

    client.to_client = tamper
    return copies


def delivery_of(raw: Frames) -> Delivery:
    """The envelope in a DELIVER."""
    message = frames.read_from_broker(raw)
    assert isinstance(message, Deliver)
    return Delivery(message.mid, message.sender, message.common, message.wrap)


def bundles_say(change: Callable[[str, SignedBundle | None], SignedBundle | None]) -> Tamper:
    """A broker that answers a LOOKUP with other bundles."""

    def tamper(raw: Frames) -> Sequence[Frames]:
        message = frames.read_from_broker(raw)
        if isinstance(message, Bundles):
            return [frames.control(Bundles(tuple(Found(one.user, change(one.user, one.bundle)) for one in message.found)))]
        return [raw]

    return tamper


def bundle(
    user: str, keys: Keys, *, kind: Kind = Kind.GUEST, seq: int = 1, now: float = START.wall, ek: SealKey | None = None
) -> SignedBundle:
    """A bundle signed by ``keys``."""
    return sign_bundle(user, kind, keys.signing, ek or keys.opening.public, seq=seq, now=now)


def resigned(signed: SignedBundle, by: Keys, **edits: object) -> SignedBundle:
    """The bundle with other members, signed anew."""
    body = msgspec.json.encode({**msgspec.json.decode(signed.body), **edits})
    return SignedBundle(body, by.signing.sign(Purpose.BUNDLE, body))


# Envelopes without a session


def draft(suite: Suite, sender: str = "alice", reader: str = "bob", **changes: Any) -> Draft:
    """A message from one to one, honest but for ``changes``."""
    mine, theirs = keys_of(sender), keys_of(reader)
    return Draft(
        kind=KIND_OF[suite],
        sender=sender,
        signing=mine.signing,
        to=[(reader, theirs.opening.public, 1)],
        cid=direct_cid(mine.signing.public.kid, theirs.signing.public.kid),
    ).but(**changes)


def fields(**changes: Any) -> Callable[[bytes], bytes]:
    """An edit that gives members of the header other values, in its canonical form."""

    def edit(header: bytes) -> bytes:
        return msgspec.json.encode({**msgspec.json.decode(header), **changes})

    return edit


def swap(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def edit(header: bytes) -> bytes:
        assert old in header
        return header.replace(old, new, 1)

    return edit


class Reader:
    """A recipient that counts private operations."""

    def __init__(self, user: str = "bob", keys: Keys | None = None, **knowledge: Any) -> None:
        keys = keys or keys_of(user)
        self.key: CountingKey = keys.opening
        known: dict[str, OpeningKey] = {b64url(self.key.public.kid): self.key}
        self.me = Recipient(
            user=user,
            kid=keys.signing.public.kid,
            keys=known,
            broker_key=BROKER_KEY,
            **{"may_receive": lambda _user, _kid: True, "seen": lambda _kid, _mid: None, **knowledge},
        )

    def open(self, one: Delivery, now_ms: int = NOW_MS) -> Opened:
        return open_envelope(one, self.me, now_ms)

    def refuses(self, one: Delivery, now_ms: int = NOW_MS) -> tuple[str, int]:
        """The stage at which it is refused, and how many private operations that took."""
        before = self.key.operations
        with pytest.raises(InvalidEnvelope) as refused:
            self.open(one, now_ms)
        return refused.value.stage, self.key.operations - before
