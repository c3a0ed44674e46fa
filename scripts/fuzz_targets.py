"""Every parser that reads remote bytes, with valid inputs to begin from and the errors that it may raise.

An input is one byte string. What reads several frames gets them as ``pack`` joins them, as far as the lengths hold.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from broker.access import Access
from broker.ledger import (
    Admitted,
    Bundled,
    Claimed,
    Invited,
    Ledger,
    LogDamaged,
    Released,
    Revoked,
    decode_event,
    encode_event,
)
from broker.router import Router
from core import frames, messages
from core.address import BrokerAddress
from core.bundle import Kind, SignedBundle, Suite, read_bundle, sign_bundle
from core.clock import Instant
from core.content import File, Text, decode_content, encode_content, pad, unpad
from core.encoding import b64url, pack, unpack
from core.envelope import KINDS, To, direct_cid, seal, signed_bytes
from core.errors import (
    BadAddress,
    BadBundle,
    FileDamaged,
    FrameError,
    InvalidEnvelope,
    KeystoreDamaged,
    KeystoreLocked,
    RemoteProtocolError,
)
from core.identity import guest_identity
from core.opening import Delivery, Recipient, open_envelope
from core.places import ConnectionFile, decode_connection_file, encode_connection_file
from core.profile import Profile
from core.rsa import Purpose
from core.sealed_file import seal_chunk
from core.session import Session
from core.transfer import Download, Upload
from core.vault import lock, unlock
from tests.keys import BROKER_KEY, keys_of

ALICE, BOB = keys_of("alice"), keys_of("bob")
NOW: Final = Instant(1_800_000_000.0, 1000.0)
_NAMES: Final = ("alice", "bob", "carol")


@dataclass(frozen=True, slots=True)
class Target:
    """A parser: ``read`` takes any bytes, and may raise only ``refusals``."""

    name: str
    read: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    refusals: tuple[type[Exception], ...]


def _frames_of(data: bytes) -> list[bytes]:
    """The frames in an input; lengths that lie end it."""
    found: list[bytes] = []
    at = 0
    while at + 4 <= len(data) and len(found) < 300:
        size = int.from_bytes(data[at : at + 4], "big")
        found.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return found


def _bundle(user: str, kind: Kind = Kind.GUEST) -> SignedBundle:
    keys = keys_of(user)
    return sign_bundle(user, kind, keys.signing, keys.opening.public, seq=1, now=NOW.wall)


def _sealed(suite: Suite) -> bytes:
    return seal(
        Text("hello", (("bob", 3),)),
        suite=suite,
        sender="alice",
        kind=Kind.GUEST,
        signing=ALICE.signing,
        sid=bytes(16),
        mid=bytes(range(16)),
        cid=direct_cid(ALICE.signing.public.kid, BOB.signing.public.kid),
        to=[To("bob", BOB.opening.public, 1)],
        now_ms=NOW.ms,
        random=os.urandom,
    ).common_direct()


def _from_clients() -> tuple[bytes, ...]:
    spki = ALICE.signing.public.spki
    said: list[Sequence[bytes]] = [
        frames.control(messages.Hello((1,), messages.Mode.FULL, "alice", Kind.GUEST, spki, _bundle("alice"), None, bytes(32))),
        frames.control(messages.Hello((1,), messages.Mode.SEND, "alice", Kind.PROFILE, spki, None, bytes(32), bytes(32))),
        frames.control(messages.Prove(bytes(256))),
        frames.control(messages.Users()),
        frames.control(messages.Lookup(_NAMES)),
        frames.control(messages.Renew(_bundle("alice"))),
        frames.control(messages.Ping()),
        frames.control(messages.Bye()),
        frames.ack([(bytes(8), bytes(32))] * 3),
        frames.send(bytes(16), "bob", b"common"),
        frames.fanout(bytes(16), _NAMES, b"common", [b"wrap"] * 3),
        frames.control(messages.Offer(bytes(16), 70)),
        frames.control(messages.Fetch(bytes(16), 0, 70)),
        frames.control(messages.Discard(bytes(16))),
        frames.piece(bytes(16), 0, bytes(70)),
    ]
    return tuple(map(pack, said))


def _from_brokers() -> tuple[bytes, ...]:
    entries = tuple(messages.Entry(name, Kind.PROFILE, bytes(32)) for name in _NAMES)
    delivered = messages.Result(bytes(16), 1, messages.Status.DELIVERED, bytes(32))
    said: list[Sequence[bytes]] = [
        frames.control(messages.Challenge(bytes(32))),
        frames.control(messages.Welcome(1, "connection", 0)),
        frames.control(messages.Roster(full=True, more=False, joined=entries, left=("dave",))),
        frames.control(messages.Bundles((messages.Found("alice", _bundle("alice")), messages.Found("bob", None)))),
        frames.control(messages.Pong()),
        frames.control(messages.Error(messages.Reason.BUSY, bytes(16))),
        frames.results([delivered, messages.Result(bytes(16), 0, messages.Status.ABSENT)]),
        frames.deliver(bytes(8), bytes(range(16)), "alice", _sealed(Suite.HYBRID), None),
        frames.deliver(bytes(8), bytes(range(16)), "alice", b"common", b"wrap"),
        frames.control(messages.Extent(bytes(16), 0, 70)),
        frames.control(messages.NoBlob(bytes(16), messages.Lack.QUOTA)),
        frames.piece(bytes(16), 0, bytes(70)),
    ]
    return tuple(map(pack, said))


def _read_bundle(data: bytes) -> None:
    signed = SignedBundle(data[256:], data[:256])
    read_bundle(signed, "alice")
    if signed != _ALICES:
        raise AssertionError("a forged bundle was believed")


def _read_signed_bundle(data: bytes) -> None:
    read_bundle(SignedBundle(data, ALICE.signing.sign(Purpose.BUNDLE, data)), "alice")


_ME: Final = Recipient(
    user="bob",
    kid=BOB.signing.public.kid,
    keys={b64url(BOB.opening.public.kid): BOB.opening},
    broker_key=BROKER_KEY,
    may_receive=lambda _user, _kid: True,
    seen=lambda _kid, _mid: None,
)


_SEALED: Final = tuple(map(_sealed, Suite))


def _open(data: bytes) -> None:
    open_envelope(Delivery(bytes(range(16)), "alice", data, None), _ME, NOW.ms)


def _open_unsigned(data: bytes) -> None:
    _open(data)
    if data not in _SEALED:
        raise AssertionError("a forged envelope was opened")


def _unlock(data: bytes) -> None:
    if unlock(data, None) and data != _LOCKED:
        raise AssertionError("an altered keystore was unlocked")


_LOCKED: Final = lock(b"content", None, random=bytes)


def _open_signed(data: bytes) -> None:
    """An envelope whose signature fits whatever it says: by a thief of the sender's key."""
    try:
        header, digests, iv, body, _, spki, wrap = unpack(data, 7)
    except ValueError:
        return _open(data)
    kind = next((kind for (_, enc, _), kind in KINDS.items() if enc.encode() in header), next(iter(KINDS.values())))
    signature = ALICE.signing.sign(kind.purpose, signed_bytes(kind, header, digests, iv, body))
    return _open(pack((header, digests, iv, body, signature, spki, wrap)))


def _open_content(data: bytes) -> None:
    """Whatever a sender who may write puts inside."""
    for reader in (decode_content, unpad):
        try:
            reader(data)
        except ValueError:
            continue


def _log_event(data: bytes) -> None:
    ledger = Ledger()
    for event in (*_EVENTS, decode_event(data)):
        ledger.apply(event)


_EVENTS: Final = (
    Invited("invite", 3, 9, 1),
    Claimed("alice", "kid", "curve", "invite", 2),
    Admitted("bob", "kid", "invite", 3),
    Bundled("alice", "kid", 1, b"body", b"signature", 4),
    Released("alice", 5),
    Revoked("invite", 6),
)


def _zap(data: bytes) -> None:
    answer = Access(open_to_all=False, knows=lambda key: key == bytes(32)).answer(_frames_of(data))
    if len(answer) != 6 or answer[2] not in (b"200", b"400", b"500"):
        raise AssertionError("no answer that ZeroMQ understands")


def _zap_requests() -> tuple[bytes, ...]:
    addresses = (b"127.0.0.1", b"::1", b"fe80::1%eth0", b"::ffff:10.0.0.1", b"192.0.2.1")
    return tuple(pack([b"1.0", b"1", b"", address, b"", b"CURVE", bytes(32)]) for address in addresses)


def _profile() -> Profile:
    return Profile.create("alice", ALICE.signing, ALICE.opening, bytes(32), now=NOW.wall, random=bytes)


def _connection_file(data: bytes) -> None:
    address = decode_connection_file(data).address
    if BrokerAddress.parse(address.url) != BrokerAddress(address.hosts, address.port, address.key):
        raise AssertionError("an address that reads otherwise than it was written")


def _session(data: bytes) -> None:
    """A client that is logged in, with a message on its way, and what a hostile broker says to it."""
    me = guest_identity("bob", BOB.signing, BOB.opening, sid=bytes(16), now=NOW.wall)
    session = Session(me, messages.Mode.FULL, BROKER_KEY, random=random.Random(1).randbytes)
    session.connect(bytes(32), NOW)
    for said in (messages.Challenge(bytes(32)), messages.Welcome(1, "x", 0)):
        session.receive(frames.control(said), NOW)
    session.submit(bytes(range(16)), Text("hello"), ["alice"], everyone=False, suite=Suite.HYBRID, now=NOW)
    session.receive(frames.control(messages.Bundles((messages.Found("alice", _ALICES),))), NOW)
    session.receive(_frames_of(data), NOW)
    session.tick(NOW)
    session.outgoing()


_ALICES: Final = _bundle("alice")


_FILE: Final = File("a", 38, bytes(32), bytes(32), bytes(16))
_FILES_BLOB: Final = bytes(seal_chunk(_FILE.key, 0, bytes(38), last=True, random=bytes))


def _file(data: bytes) -> None:
    """A file that is fetched, and a file that is uploaded, from a hostile broker."""
    download, upload = Download(_FILE), Upload(_FILE.blob, 70)
    download.begin()
    upload.begin()
    at = 0
    for part in _frames_of(data):
        if part[:1] == b"x":
            upload.extent(messages.Extent(_FILE.blob, int.from_bytes(part[1:3], "big"), int.from_bytes(part[3:5], "big")))
            upload.pieces(memoryview(bytes(min(upload.room, 70))))
            continue
        for plain in download.piece(messages.Piece(_FILE.blob, at, part)):
            if plain != bytes(38):
                raise AssertionError("a forged chunk was believed")
        at += len(part)
        download.more()


def _router(data: bytes) -> None:
    """A broker at which somebody is logged in, and what a hostile client says to it."""
    logged: list[object] = []
    router = Router(BROKER_KEY, Ledger(), logged.append, random=bytes)
    me = guest_identity("bob", BOB.signing, BOB.opening, sid=bytes(16), now=NOW.wall)
    session = Session(me, messages.Mode.FULL, BROKER_KEY, random=bytes)
    session.connect(bytes(32), NOW)
    for _ in range(2):
        for raw in session.outgoing():
            list(router.receive(b"bob", bytes(32), raw, NOW))
        for _, raw, _ in router.outgoing:
            session.receive(raw, NOW)
        router.outgoing.clear()
    said = _frames_of(data)
    for rid in (b"bob", b"stranger"):
        list(router.receive(rid, bytes(32), said, NOW))
    router.roster_tick()
    router.sweep(NOW)


TARGETS: Final = tuple(
    Target(*one)
    for one in (
        ("frames-from-client", lambda data: frames.read_from_client(_frames_of(data)), _from_clients(), (FrameError,)),
        ("frames-from-broker", lambda data: frames.read_from_broker(_frames_of(data)), _from_brokers(), (FrameError,)),
        ("bundle", _read_bundle, (_ALICES.signature + _ALICES.body,), (BadBundle,)),
        ("bundle-signed", _read_signed_bundle, (_ALICES.body, _bundle("alice", Kind.PROFILE).body), (BadBundle,)),
        ("envelope", _open_unsigned, _SEALED, (InvalidEnvelope,)),
        ("envelope-signed", _open_signed, _SEALED, (InvalidEnvelope,)),
        (
            "content", _open_content,
            (encode_content(Text("a", (("b", 3),))), pad(encode_content(Text("c"))), msgspec.msgpack.encode({"type": "d"})), (),
        ),
        (
            "connection-file", _connection_file,
            tuple(encode_connection_file(ConnectionFile.describe(host, 1, bytes(32), 1)) for host in ("127.0.0.1", "::1")),
            (BadAddress,),
        ),
        (
            "address", lambda data: BrokerAddress.parse(data.decode("utf-8", "surrogateescape")),
            tuple(f"securechat://{rest}".encode() for rest in (f"h,[::1]:1/{'A' * 43}", f"h:65535/{'A' * 43}/{'A' * 43}")),
            (BadAddress,),
        ),
        ("zap-request", _zap, _zap_requests(), ()),
        ("keystore", _unlock, (_LOCKED,), (KeystoreDamaged, KeystoreLocked)),
        ("keystore-content", Profile.decode, (_profile().encode(),), (KeystoreDamaged,)),
        ("log-event", _log_event, tuple(encode_event(event) for event in _EVENTS), (LogDamaged,)),
        (
            "file", _file,
            (pack([_FILES_BLOB]), pack([_FILES_BLOB[:33], _FILES_BLOB[33:]]), pack([b"x\0\0\0\x46", b"x\0\x46\0\x46"])),
            (FileDamaged, RemoteProtocolError, ValueError),
        ),
        ("session", _session, _from_brokers(), (RemoteProtocolError,)),
        ("router", _router, _from_clients(), ()),
    )
)  # fmt: skip
