"""core.bundle, core.login and core.identity: what an identity key vouches for."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.bundle import ALL_SUITES, Kind, SignedBundle, read_bundle, sign_bundle
from core.errors import BadBundle, BadName, BadSignature
from core.identity import guest_identity
from core.limits import BUNDLE_LIFE, BUNDLE_MAX, CLOCK_SKEW_MS, COUNTER_MAX
from core.login import LoginContext, check_proof, prove
from core.rsa import Purpose
from tests.keys import BROKER_KEY, keys_of

NOW = 1_800_000_000
ALICE, BOB = keys_of("alice"), keys_of("bob")
SIGNED = sign_bundle("alice", Kind.GUEST, ALICE.signing, ALICE.opening.public, seq=1, now=NOW + 0.7)
CONTEXT = LoginContext(BROKER_KEY, b"c" * 32, b"n" * 32, b"m" * 32, "alice")
PROOF = prove(ALICE.signing, CONTEXT)


def test_a_bundle_round_trip() -> None:
    bundle = read_bundle(SIGNED, "alice")
    assert (bundle.user, bundle.kind, bundle.seq, bundle.suites) == ("alice", Kind.GUEST, 1, ALL_SUITES)
    assert (bundle.nbf, bundle.exp) == (NOW, NOW + BUNDLE_LIFE)
    assert bundle.ik.spki == ALICE.signing.public.spki
    assert bundle.ek.spki == ALICE.opening.public.spki
    assert len(SIGNED.body) < BUNDLE_MAX


def test_a_bundle_is_valid_for_30_days_give_or_take_5_minutes() -> None:
    bundle = read_bundle(SIGNED, "alice")
    first, last = NOW * 1000 - CLOCK_SKEW_MS, (NOW + BUNDLE_LIFE) * 1000 + CLOCK_SKEW_MS
    assert [bundle.valid_at(ms) for ms in (first - 1, first, last, last + 1)] == [False, True, True, False]


def test_a_bundle_speaks_of_one_name() -> None:
    for name in ("bob", "Alice", "", "everyone"):
        with pytest.raises(BadBundle):
            read_bundle(SIGNED, name)


@settings(max_examples=300)
@given(st.data())
def test_an_altered_bundle_is_refused(data: st.DataObject) -> None:
    body, signature = SIGNED.body, SIGNED.signature
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(body)))
        body = body[:at] + data.draw(st.binary(max_size=3)) + body[at + data.draw(st.integers(0, 3)) :]
    else:
        at = data.draw(st.integers(0, 255))
        signature = signature[:at] + data.draw(st.binary(max_size=2)) + signature[at + 1 :]
    if (body, signature) != (SIGNED.body, SIGNED.signature):
        with pytest.raises(BadBundle):
            read_bundle(SignedBundle(body, signature), "alice")


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_noise_is_no_bundle(body: bytes, signature: bytes) -> None:
    with pytest.raises(BadBundle):
        read_bundle(SignedBundle(body, signature), "alice")


@pytest.mark.parametrize("edits", [{"seq": COUNTER_MAX}, {"nbf": 0, "exp": 1}, {"nbf": 0, "exp": BUNDLE_LIFE}])
def test_numbers_at_the_ends_of_their_ranges_are_in_them(edits: dict[str, int]) -> None:
    body = msgspec.json.encode({**msgspec.json.decode(SIGNED.body), **edits})
    bundle = read_bundle(SignedBundle(body, ALICE.signing.sign(Purpose.BUNDLE, body)), "alice")
    assert {name: getattr(bundle, name) for name in edits} == edits


def test_a_huge_time_in_a_signed_bundle_is_only_never_valid() -> None:
    huge = 10**400
    bundle = dataclasses.replace(read_bundle(SIGNED, "alice"), nbf=huge, exp=huge + 1)
    assert not bundle.valid_at(NOW * 1000)


def test_a_login_proof_holds_for_one_login_only() -> None:
    check_proof(ALICE.signing.public, CONTEXT, PROOF)
    changes: tuple[dict[str, Any], ...] = (
        {"broker_key": b"x" * 32},
        {"client_key": b"x" * 32},
        {"client_nonce": b"x" * 32},
        {"broker_nonce": b"x" * 32},
        {"client_nonce": CONTEXT.broker_nonce, "broker_nonce": CONTEXT.client_nonce},
        {"user": "alice2"},
        {"user": "alic"},
    )
    for change in changes:
        with pytest.raises(BadSignature):
            check_proof(ALICE.signing.public, dataclasses.replace(CONTEXT, **change), PROOF)
    with pytest.raises(BadSignature):
        check_proof(BOB.signing.public, CONTEXT, PROOF)


@pytest.mark.parametrize("part", ["broker_key", "client_key", "client_nonce", "broker_nonce"])
@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_login_part_of_a_wrong_size_is_an_error_here(part: str, size: int) -> None:
    wrong: dict[str, Any] = {part: bytes(size)}
    with pytest.raises(ValueError, match="wrong size"):
        prove(ALICE.signing, dataclasses.replace(CONTEXT, **wrong))


@settings(max_examples=100)
@given(at=st.integers(0, 255), bit=st.integers(0, 7))
def test_an_altered_login_proof_fails(at: int, bit: int) -> None:
    with pytest.raises(BadSignature):
        check_proof(ALICE.signing.public, CONTEXT, PROOF[:at] + bytes([PROOF[at] ^ 1 << bit]) + PROOF[at + 1 :])


def test_guests() -> None:
    guest = guest_identity("alice", ALICE.signing, ALICE.opening, sid=bytes(16), now=NOW)
    assert guest.bundle is not None
    assert read_bundle(guest.bundle, "alice").ik.kid == guest.kid == ALICE.signing.public.kid
    assert guest_identity("alice", ALICE.signing, None, sid=bytes(16), now=NOW).bundle is None
    with pytest.raises(BadName):
        guest_identity("everyone", ALICE.signing, None, sid=bytes(16), now=NOW)
