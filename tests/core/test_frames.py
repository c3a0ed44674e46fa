"""core.frames: every message there and back, and nothing but FrameError for the rest."""

from __future__ import annotations

import pickle
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import frames, messages
from core.bundle import Kind, SignedBundle
from core.errors import FrameError
from core.frames import Frames
from core.limits import ACKS_MAX, BUNDLE_MAX, FRAME_MAX, LOOKUP_MAX, RECIPIENTS_MAX, RESULTS_MAX, ROSTER_CHUNK, WRAP_MAX
from core.messages import FromBroker, FromClient, Reason, Result, Status

names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,31}", fullmatch=True).filter(lambda name: name != "everyone")
mids, hashes, nonces = (st.binary(min_size=size, max_size=size) for size in (16, 32, 32))
blobs = st.binary(max_size=200)
bundles = st.builds(SignedBundle, st.binary(max_size=2048), st.binary(min_size=256, max_size=256))
entries = st.builds(messages.Entry, names, st.sampled_from(Kind), hashes)
unique_names = st.lists(names, min_size=1, max_size=6, unique=True)
controls = st.one_of(st.just(messages.Ping()), st.just(messages.Pong()), st.just(messages.Bye()))
spkis = st.binary(min_size=294, max_size=294)
versions = st.lists(st.integers(-(2**63), 2**63), min_size=1, max_size=16).map(tuple)
numbers = st.integers(0, 2**63 - 1)
news = st.builds(messages.Told, mids, names, st.sampled_from(Status), st.none() | hashes)

from_clients = st.one_of(
    controls,
    st.just(messages.Users()),
    st.builds(
        messages.Hello,
        versions,
        st.sampled_from(messages.Mode),
        names,
        st.sampled_from(Kind),
        spkis,
        st.none() | bundles,
        st.none() | nonces,
        nonces,
    ),
    st.builds(messages.Prove, st.binary(min_size=256, max_size=256)),
    st.builds(messages.Lookup, unique_names.map(tuple)),
    st.builds(messages.Renew, bundles),
    st.builds(messages.Noted, numbers),
)
from_brokers = st.one_of(
    controls,
    st.builds(messages.Challenge, nonces),
    st.builds(messages.Welcome, st.integers(0, 2**63), st.text(max_size=20), numbers),
    st.builds(messages.Roster, st.booleans(), st.booleans(), st.lists(entries, max_size=4).map(tuple), unique_names.map(tuple)),
    st.builds(
        messages.Bundles, st.lists(st.builds(messages.Found, names, st.none() | bundles), min_size=1, max_size=4).map(tuple)
    ),
    st.builds(messages.Error, st.sampled_from(Reason), st.none() | mids),
    st.just(messages.CaughtUp()),
    st.builds(messages.Kept, numbers, st.lists(news, min_size=1, max_size=4).map(tuple)),
)
results = st.one_of(
    st.builds(Result, mids, st.integers(0, 65535), st.just(Status.DELIVERED), hashes),
    st.builds(Result, mids, st.integers(0, 65535), st.sampled_from([one for one in Status if one is not Status.DELIVERED])),
)
read_client, read_broker = frames.read_from_client, frames.read_from_broker


@given(from_clients)
def test_controls_of_a_client_round_trip(message: Any) -> None:
    raw = frames.control(message)
    assert len(raw) == 1
    assert read_client(raw) == message


@given(from_brokers)
def test_controls_of_a_broker_round_trip(message: Any) -> None:
    assert read_broker(frames.control(message)) == message


@given(st.lists(st.tuples(st.binary(min_size=8, max_size=8), hashes), min_size=1, max_size=6))
def test_acks_round_trip(copies: list[tuple[bytes, bytes]]) -> None:
    assert read_client(frames.ack(copies)) == messages.Ack(tuple(copies))


@given(st.lists(results, min_size=1, max_size=6))
def test_results_round_trip(items: list[Result]) -> None:
    assert read_broker(frames.results(items)) == messages.Results(tuple(items))


@given(mids, names, blobs)
def test_send_round_trips(mid: bytes, to: str, common: bytes) -> None:
    assert read_client(frames.send(mid, to, common)) == messages.Send(mid, to, common)


@given(mids, unique_names, blobs, st.data())
def test_fanout_round_trips(mid: bytes, to: list[str], common: bytes, data: st.DataObject) -> None:
    wraps = tuple(data.draw(st.lists(blobs, min_size=len(to), max_size=len(to))))
    assert read_client(frames.fanout(mid, to, common, wraps)) == messages.Fanout(mid, tuple(to), common, wraps)


@given(st.binary(min_size=8, max_size=8), mids, names, blobs, st.none() | blobs)
def test_deliver_round_trips(copy_id: bytes, mid: bytes, sender: str, common: bytes, wrap: bytes | None) -> None:
    raw = frames.deliver(copy_id, mid, sender, common, wrap)
    assert read_broker(raw) == messages.Deliver(copy_id, mid, sender, common, wrap)


def test_the_most_that_fits() -> None:
    mid = bytes(16)
    users = tuple(f"u{at}" for at in range(RECIPIENTS_MAX))
    assert read_client(frames.fanout(mid, users, b"c", [b"w"] * RECIPIENTS_MAX)) == messages.Fanout(
        mid, users, b"c", (b"w",) * RECIPIENTS_MAX
    )
    longest_bundle = messages.Renew(SignedBundle(bytes(BUNDLE_MAX), bytes(256)))
    assert read_client(frames.control(longest_bundle)) == longest_bundle
    longest = bytes(WRAP_MAX)
    assert read_client(frames.fanout(mid, ["bob"], b"c", [longest])) == messages.Fanout(mid, ("bob",), b"c", (longest,))
    acks = [(at.to_bytes(8, "big"), bytes(32)) for at in range(ACKS_MAX)]
    assert read_client(frames.ack(acks)) == messages.Ack(tuple(acks))
    items = [Result(mid, at, Status.DELIVERED, bytes(32)) for at in range(RESULTS_MAX)]
    assert read_broker(frames.results(items)) == messages.Results(tuple(items))
    entry = messages.Entry("x" * 32, Kind.PROFILE, bytes(32))
    roster = messages.Roster(False, False, (entry,) * ROSTER_CHUNK, ("y" * 32,) * ROSTER_CHUNK)
    assert read_broker(frames.control(roster)) == roster
    bundle = SignedBundle(bytes(1300), bytes(256))
    found = messages.Bundles(tuple(messages.Found(f"u{at}", bundle) for at in range(LOOKUP_MAX)))
    assert read_broker(frames.control(found)) == found
    assert read_client([b"S" + mid + b"bob", bytes(FRAME_MAX)]) == messages.Send(mid, "bob", bytes(FRAME_MAX))


def test_one_too_many() -> None:
    mid = bytes(16)
    entry = messages.Entry("x", Kind.GUEST, bytes(32))
    too_many: list[Frames] = [
        frames.results([Result(mid, 0, Status.ABSENT)] * (RESULTS_MAX + 1)),
        frames.control(messages.Roster(False, False, (entry,) * (ROSTER_CHUNK + 1), ())),
        frames.control(messages.Bundles((messages.Found("x", None),) * (LOOKUP_MAX + 1))),
        frames.control(messages.Bundles((messages.Found("x", SignedBundle(bytes(2049), bytes(256))),))),
        frames.control(messages.Bundles((messages.Found("x", SignedBundle(b"", bytes(255))),))),
        frames.control(messages.Welcome(1, "x" * 65, 0)),
        [*frames.deliver(bytes(8), mid, "bob", b"", b""), b""],
        frames.deliver(bytes(8), mid, "bob", bytes(FRAME_MAX + 1), None),
    ]
    with pytest.raises(FrameError):
        read_client(frames.fanout(mid, ["bob", "carol"], b"c", [b"w", bytes(WRAP_MAX + 1)]))
    for raw in too_many:
        with pytest.raises(FrameError):
            read_broker(raw)


MID = bytes(16)
HELLO = messages.Hello((1,), messages.Mode.FULL, "bob", Kind.GUEST, bytes(294), None, None, bytes(32))


@pytest.mark.parametrize(
    "raw",
    [
        frames.control(msgspec.structs.replace(HELLO, user="everyone")),
        *(
            frames.control(message)
            for bundle in (SignedBundle(bytes(2049), bytes(256)), *(SignedBundle(b"", bytes(size)) for size in (255, 257)))
            for message in (msgspec.structs.replace(HELLO, bundle=bundle), messages.Renew(bundle))
        ),
        frames.control(messages.Lookup(("bob", "everyone"))),
        frames.control(messages.Lookup(tuple(f"u{at}" for at in range(LOOKUP_MAX + 1)))),
        frames.send(MID, "everyone", b"c"),
        frames.send(MID, "", b"c"),
        [*frames.send(MID, "bob", b"c"), b""],
        [b"S" + MID + b"b\xc3\xb8b", b"c"],
        frames.send(MID, "bob", bytes(FRAME_MAX + 1)),
        *([b"F" + MID, b"c", b"bob"][:count] for count in (1, 2, 3)),
        frames.fanout(MID, (), b"c", ()),
        frames.fanout(MID, ("bob",), b"c", ()),
        frames.fanout(MID, ("bob",), b"c", (b"w", b"w")),
        frames.fanout(MID, ("bob", "carol"), b"c", (b"w",)),
        frames.fanout(MID, ("bob", "bob"), b"c", (b"w", b"w")),
        frames.fanout(MID, ("bob", "everyone"), b"c", (b"w", b"w")),
        frames.fanout(MID[1:], ("bob",), b"c", (b"w",)),
        frames.fanout(MID + b"x", ("bob",), b"c", (b"w",)),
        frames.fanout(MID, [f"u{at}" for at in range(RECIPIENTS_MAX + 1)], b"c", [b"w"] * (RECIPIENTS_MAX + 1)),
        frames.ack([]),
        frames.ack([(bytes(8), bytes(31))]),
        frames.ack([(bytes(8), bytes(32))] * (ACKS_MAX + 1)),
        [],
        [b""],
        [b"", b"c"],
        [b"Z"],
        [b"Z" + MID + b"bob", b"c"],
        [b"A" + MID + b"bob", b"c"],
    ],
)
def test_what_no_client_may_say(raw: Frames) -> None:
    with pytest.raises(FrameError):
        read_client(raw)


@pytest.mark.parametrize(
    "raw",
    [
        frames.deliver(bytes(8), MID, "", b"c", None),
        frames.deliver(bytes(8), MID, "everyone", b"c", None),
        [b"D" + bytes(8) + MID[1:], b"c"],
        [b"R"],
        [frames.results([Result(MID, 0, Status.GONE)])[0] + b"x"],
        [frames.results([Result(MID, 0, Status.DELIVERED, bytes(32))])[0][:-1]],
        [b"R" + MID + b"\0\0\xff"],
        frames.control(messages.Roster(True, False, (messages.Entry("everyone", Kind.GUEST, bytes(32)),), ())),
        frames.control(messages.Roster(True, False, (), ("everyone",))),
        frames.control(messages.Bundles((messages.Found("everyone", None),))),
        frames.control(messages.Kept(0, (messages.Told(MID, "everyone", Status.GONE, None),))),
        [],
        [b""],
        [b"", b"c"],
        [b"Z"],
    ],
)
def test_what_no_broker_may_say(raw: Frames) -> None:
    with pytest.raises(FrameError):
        read_broker(raw)


def test_mail_of_one_kind_is_nothing_else() -> None:
    """Only SEND and FANOUT go up in several frames, and only DELIVER comes down in them."""
    for read, mail in ((read_client, b"SF"), (read_broker, b"D")):
        for verb in set(range(256)) - set(mail):
            for rest in ([b"c"], [b"c", b"bob"], [b"c", b"bob", b"w"]):
                with pytest.raises(FrameError):
                    read([bytes([verb]) + MID + bytes(8) + b"bob", *rest])


def _either(raw: Frames) -> None:
    """Whatever comes: a value of the declared kinds, or FrameError."""
    kinds: tuple[Any, ...]
    for read, kinds in ((read_client, FromClient.__args__), (read_broker, FromBroker.__args__)):
        try:
            message = read(raw)
        except FrameError:
            continue
        assert isinstance(message, kinds)


# Packed values of every msgpack family, to put where others are expected.
values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.text(max_size=5), st.binary(max_size=40)
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
).map(msgspec.msgpack.encode)


@settings(max_examples=500)
@given(st.lists(st.binary(max_size=100), max_size=5))
def test_noise_raises_nothing_else(raw: list[bytes]) -> None:
    _either(raw)


@settings(max_examples=500)
@given(st.sampled_from([*b"HCPWOULBIJQEARSFDZ"]), values)
def test_any_body_behind_any_verb_raises_nothing_else(verb: int, body: bytes) -> None:
    _either([bytes([verb]) + body])
    _either([bytes([verb]) + body, body])


@settings(max_examples=1000)
@given(st.data())
def test_mutated_messages_raise_nothing_else(data: st.DataObject) -> None:
    message = data.draw(from_clients | from_brokers)
    raw = list(data.draw(st.sampled_from([frames.control(message), *OTHERS])))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw) - 1))
        where = data.draw(st.integers(0, len(raw[at])))
        raw[at] = raw[at][:where] + data.draw(st.binary(max_size=4)) + raw[at][where + data.draw(st.integers(0, 4)) :]
    if data.draw(st.booleans()):
        raw = data.draw(st.permutations(raw))
    _either(raw)


OTHERS = [
    frames.send(bytes(16), "bob", b"common"),
    frames.fanout(bytes(16), ("bob", "carol"), b"common", (b"one", b"two")),
    frames.deliver(bytes(8), bytes(16), "bob", b"common", b"wrap"),
    frames.ack([(bytes(8), bytes(32))] * 3),
    frames.results([Result(bytes(16), 0, Status.DELIVERED, bytes(32)), Result(bytes(16), 1, Status.GONE)]),
]


class _Boom:
    ran = False

    def __reduce__(self) -> tuple[Any, ...]:
        return setattr, (_Boom, "ran", True)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_are_not_run(protocol: int) -> None:
    payload = pickle.dumps(_Boom(), protocol)
    for verb in (b"", *(bytes([one]) for one in b"HCPWOULBIJQEARSFDZ")):
        _either([verb + payload])
        _either([payload, verb + payload, payload])
    assert not _Boom.ran


@pytest.mark.parametrize(
    "body", [b"\x91" * 100_000, b"\x81" * 30_000, b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"]
)
def test_deep_and_lying_bodies_raise_nothing_else(body: bytes) -> None:
    for verb in b"HCPWOULBIJQE":
        _either([bytes([verb]) + body])
