"""core.envelope and core.opening: sealing and opening in both suites. The frozen vectors hold each stage; these look wider."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import os
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.bundle import Kind, Suite
from core.content import Text, encode_content
from core.encoding import b64url, pack, unpack
from core.envelope import Sealed, To, check_content, check_length, direct_cid, everyone_cid, fits, seal
from core.errors import EmptyMessage, InvalidEnvelope, MessageTooLong, Replayed
from core.limits import CHUNKED_CONTENT_MAX, COUNTER_MAX, FRAME_MAX, HEADER_MAX, HYBRID_CONTENT_MAX, RECIPIENTS_MAX
from core.opening import RECEIVE_ORDER, Delivery, Opened, Recipient, open_envelope
from core.rsa import OpeningKey
from tests.forge import counted_random, direct
from tests.keys import BROKER_KEY, CountingKey, Keys, keys_of, private_key

NOW = 1_800_000_000_000
NAMES = ("bob", "carol", "dave")
ALICE, BOB, MALLORY = keys_of("alice"), keys_of("bob"), keys_of("mallory")
MID, SID = bytes(range(16)), bytes(range(16, 32))


def _seal(text: str, *, suite: Suite, to: tuple[str, ...] = ("bob",), everyone: bool = False, **changes: Any) -> Sealed:
    options: dict[str, Any] = {
        "suite": suite,
        "sender": "alice",
        "kind": Kind.GUEST,
        "signing": ALICE.signing,
        "sid": SID,
        "mid": MID,
        "cid": everyone_cid(BROKER_KEY)
        if everyone
        else direct_cid(ALICE.signing.public.kid, keys_of(to[0]).signing.public.kid),
        "to": [To(user, keys_of(user).opening.public, 5) for user in to],
        "now_ms": NOW,
        "random": counted_random(text),
    }
    return seal(Text(text), **{**options, **changes})


def _me(user: str = "bob", keys: Keys | None = None, **changes: Any) -> Recipient:
    keys = keys or keys_of(user)
    eks: dict[str, OpeningKey] = {b64url(keys.opening.public.kid): keys.opening}
    me = Recipient(user, keys.signing.public.kid, eks, BROKER_KEY, lambda *_: True, lambda *_: None)
    return dataclasses.replace(me, **changes)


def _delivery(sealed: Sealed, place: int = 0) -> Delivery:
    if len(sealed.wraps) == 1:
        return Delivery(sealed.mid, "alice", sealed.common_direct(), None)
    return Delivery(sealed.mid, "alice", sealed.common(), sealed.wraps[place])


texts = st.text(st.characters(codec="utf-8"), max_size=300)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(text=texts, suite=st.sampled_from(Suite), names=st.sets(st.sampled_from(NAMES), min_size=1))
def test_what_is_sealed_opens_for_each_recipient(text: str, suite: Suite, names: set[str]) -> None:
    sealed = _seal(text, suite=suite, to=tuple(names), everyone=True)
    assert sealed.recipients == tuple(sorted(names))
    for place, user in enumerate(sealed.recipients):
        opened = open_envelope(_delivery(sealed, place), _me(user), NOW)
        assert opened == Opened(
            mid=MID,
            sid=SID,
            n=5,
            sender="alice",
            kind=Kind.GUEST,
            sender_key=opened.sender_key,
            to=sealed.recipients,
            everyone=True,
            ts=NOW,
            suite=suite,
            content=Text(text),
            proof=hmac.digest(sealed.secret, b"sc1 delivered\0" + MID + keys_of(user).signing.public.kid, "sha256"),
        )
        assert opened.sender_key.kid == ALICE.signing.public.kid


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), suite=st.sampled_from(Suite), everyone=st.booleans())
def test_no_altered_envelope_opens_nor_costs_a_private_operation(data: st.DataObject, suite: Suite, everyone: bool) -> None:
    sealed = SEALED[suite, everyone]
    delivery = _delivery(sealed)
    keys = keys_of("bob")
    common, wrap = delivery.common, delivery.wrap
    if wrap is not None and data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(wrap) - 1))
        wrap = wrap[:at] + data.draw(st.binary(max_size=2)) + wrap[at + 1 :]
    elif data.draw(st.booleans()):
        parts = unpack(common, 7)
        which = data.draw(st.integers(0, 6))
        at = data.draw(st.integers(0, len(parts[which])))
        parts[which] = parts[which][:at] + data.draw(st.binary(max_size=3)) + parts[which][at + data.draw(st.integers(0, 3)) :]
        common = pack(parts)
    else:
        at = data.draw(st.integers(0, len(common) - 1))
        common = common[:at] + data.draw(st.binary(max_size=3)) + common[at + data.draw(st.integers(0, 3)) :]
    if (common, wrap) == (delivery.common, delivery.wrap):
        return
    with pytest.raises(InvalidEnvelope) as refused:
        open_envelope(Delivery(MID, "alice", common, wrap), _me(keys=keys), NOW)
    assert refused.value.stage in [name for name, _ in RECEIVE_ORDER[:6]]
    assert keys.opening.operations == 0


SEALED = {
    (suite, everyone): _seal("x" * 300, suite=suite, to=("bob", "carol") if everyone else ("bob",), everyone=everyone)
    for suite in Suite
    for everyone in (False, True)
}


def test_every_bit_of_a_signed_header_counts() -> None:
    sealed = SEALED[Suite.HYBRID, True]
    parts = unpack(sealed.common(), 7)
    keys = keys_of("bob")
    for at in range(len(parts[0])):
        header = parts[0][:at] + bytes([parts[0][at] ^ 1 << at % 7]) + parts[0][at + 1 :]
        with pytest.raises(InvalidEnvelope):
            open_envelope(Delivery(MID, "alice", pack([header, *parts[1:]]), sealed.wraps[0]), _me(keys=keys), NOW)
    assert keys.opening.operations == 0


@pytest.mark.parametrize("suite", Suite)
def test_sealing_never_repeats_itself(suite: Suite) -> None:
    first, second = (_seal("x", suite=suite, random=os.urandom) for _ in range(2))
    assert first.secret != second.secret
    assert first.wraps != second.wraps
    assert first.secret not in first.common_direct()
    assert repr(first.secret) not in repr(first)


@pytest.mark.parametrize("suite", Suite)
def test_texts_of_like_length_are_of_one_size(suite: Suite) -> None:
    sizes = {len(_seal("x" * length, suite=suite).common_direct()) for length in (1, 50, 100, 200)}
    assert len(sizes) == 1


def test_the_header_is_as_documented() -> None:
    sealed = _seal("x", suite=Suite.HYBRID)
    header = sealed.parts[0]
    assert header.isascii()
    members = ["alg", "enc", "typ", "from", "kind", "ik", "mid", "sid", "ts", "kc", "cid", "to"]
    assert list(msgspec.json.decode(header)) == members
    assert b" " not in header
    assert sealed.parts[1] == hashlib.sha256(sealed.wraps[0]).digest()


def test_a_conversation_has_one_id_from_both_ends() -> None:
    one, other = ALICE.signing.public.kid, BOB.signing.public.kid
    assert direct_cid(one, other) == direct_cid(other, one)
    assert len({direct_cid(one, other), direct_cid(one, one), everyone_cid(one), everyone_cid(BROKER_KEY)}) == 4


@pytest.mark.parametrize("to", [[], ["bob", "bob"], ["bob"] * 300])
def test_no_too_many_or_repeated_recipients(to: list[str]) -> None:
    with pytest.raises(ValueError, match="recipients"):
        seal(
            Text("x"),
            suite=Suite.HYBRID,
            sender="alice",
            kind=Kind.GUEST,
            signing=ALICE.signing,
            sid=SID,
            mid=MID,
            cid=bytes(32),
            to=[To(user, BOB.opening.public, 1) for user in to],
            now_ms=NOW,
            random=counted_random("x"),
        )


@pytest.mark.parametrize("suite", Suite)
def test_the_largest_envelope_fits_its_frames_and_opens(suite: Suite) -> None:
    most = HYBRID_CONTENT_MAX if suite is Suite.HYBRID else CHUNKED_CONTENT_MAX
    text = "x" * (most - len(encode_content(Text(""))) - 2)
    assert len(encode_content(Text(text))) == most
    users = [f"{'u' * 28}{at:03}z" for at in range(RECIPIENTS_MAX if suite is Suite.HYBRID else 2)]
    sealed = seal(
        Text(text),
        suite=suite,
        sender="s" * 32,
        kind=Kind.PROFILE,
        signing=ALICE.signing,
        sid=SID,
        mid=MID,
        cid=everyone_cid(BROKER_KEY),
        to=[To(user, BOB.opening.public, COUNTER_MAX) for user in users],
        now_ms=NOW,
        random=counted_random("large"),
    )
    assert len(sealed.parts[0]) <= HEADER_MAX
    assert len(sealed.common()) <= FRAME_MAX
    last = len(users) - 1
    opened = open_envelope(Delivery(MID, "s" * 32, sealed.common(), sealed.wraps[last]), _me(users[last], BOB), NOW)
    assert opened.content == Text(text)
    assert opened.n == COUNTER_MAX


@pytest.mark.parametrize(("suite", "most"), [(Suite.HYBRID, HYBRID_CONTENT_MAX), (Suite.CHUNKED, CHUNKED_CONTENT_MAX)])
def test_too_long_is_refused_by_name(suite: Suite, most: int) -> None:
    check_length(bytes(most), suite)
    with pytest.raises(MessageTooLong) as refused:
        check_length(bytes(most + 1), suite)
    text_most = most - len(encode_content(Text("x" * 300))) + 300  # what is around a text of some length
    assert f"{suite.value} messages hold at most {text_most} bytes of text" in str(refused.value)
    advice = "Use the hybrid suite, or send it as a file." if suite is Suite.CHUNKED else "Send it as a file."
    assert refused.value.advice == advice
    for text in ("x", "x" * text_most):
        check_content(Text(text), suite)
    assert fits(Text("x" * text_most), suite)
    assert not fits(Text("x" * (text_most + 1)), suite)
    with pytest.raises(MessageTooLong):
        check_content(Text("x" * (text_most + 1)), suite)
    with pytest.raises(EmptyMessage):
        check_content(Text(" \n\t"), suite)


@pytest.mark.parametrize("suite", Suite)
def test_a_clock_may_stand_where_time_begins(suite: Suite) -> None:
    assert open_envelope(_delivery(_seal("x", suite=suite, now_ms=0)), _me(), 0).ts == 0


@pytest.mark.parametrize("suite", Suite)
def test_a_replay_is_told_with_its_first_proof_and_not_opened(suite: Suite) -> None:
    keys = keys_of("bob")
    asked: list[tuple[bytes, bytes]] = []

    def seen(kid: bytes, mid: bytes) -> bytes:
        asked.append((kid, mid))
        return b"first proof"

    with pytest.raises(Replayed) as refused:
        open_envelope(_delivery(SEALED[suite, False]), _me(keys=keys, seen=seen), NOW)
    assert refused.value.proof == b"first proof"
    assert asked == [(ALICE.signing.public.kid, MID)]
    assert keys.opening.operations == 0


@pytest.mark.parametrize("suite", Suite)
def test_nobody_asks_what_was_seen_before_the_signature_held(suite: Suite) -> None:
    def seen(kid: bytes, mid: bytes) -> bytes:
        pytest.fail("asked about an unsigned message")

    sealed = SEALED[suite, False]
    parts = unpack(sealed.common_direct(), 7)
    parts[4] = bytes(256)
    with pytest.raises(InvalidEnvelope) as refused:
        open_envelope(Delivery(MID, "alice", pack(parts), None), _me(seen=seen), NOW)
    assert refused.value.stage == "signature"


def test_an_older_encryption_key_still_opens() -> None:
    old, new = BOB.opening, CountingKey(private_key("dave", "ek"))
    keys: dict[str, OpeningKey] = {b64url(key.public.kid): key for key in (new, old)}
    for to in (old, new):
        sealed = direct(Suite.HYBRID, "alice", ALICE, "bob", BOB, to=[("bob", to.public, 1)]).make()
        assert open_envelope(sealed.delivery(), dataclasses.replace(_me(), keys=keys), NOW).n == 1


@pytest.mark.parametrize("suite", Suite)
def test_a_message_cannot_be_passed_on_as_ones_own(suite: Suite) -> None:
    """Mallory puts her own name, key and signature to what Alice has sealed."""
    sealed = SEALED[suite, False]
    parts = unpack(sealed.common_direct(), 7)
    stolen = direct(suite, "mallory", MALLORY, "bob", BOB, mid=MID, wrap=lambda _: sealed.wraps[0])
    if suite is Suite.HYBRID:
        stolen = stolen.but(iv=parts[2], body=lambda _: parts[3])
    header = msgspec.json.decode(parts[0])
    stolen = stolen.but(fields={"kc": header["kc"]})
    with pytest.raises(InvalidEnvelope) as refused:
        open_envelope(stolen.make().delivery(), _me(), NOW)
    assert refused.value.stage == ("aead" if suite is Suite.HYBRID else "decrypt")


def test_one_message_cannot_show_two_texts() -> None:
    """Kind E, one body, two keys: the commitment lets only one of them open it."""
    draft = direct(Suite.HYBRID, "alice", ALICE, "bob", BOB)
    for secret, stage in ((draft.secret, None), (bytes(32), "commitment")):
        made = draft.but(wrapped=secret).make()
        if stage is None:
            assert open_envelope(made.delivery(), _me(), NOW).content == Text("hello")
        else:
            with pytest.raises(InvalidEnvelope) as refused:
                open_envelope(made.delivery(), _me(), NOW)
            assert refused.value.stage == stage
