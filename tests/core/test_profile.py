"""core.profile: a long-term identity, its encryption keys over time, and its form on disk."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.bundle import Kind, read_bundle
from core.errors import BadName, KeystoreDamaged
from core.limits import BUNDLE_LIFE
from core.profile import KEEP_OLD, ROTATE_AFTER, AgedKey, Profile
from core.rsa import OpeningKey
from tests.keys import keys_of

NOW = 1_800_000_000
DAY = 86_400
EKS = [keys_of(name).opening for name in ("alice", "bob", "carol", "dave")]
CURVE = bytes(range(32))


def fresh(now: float = NOW) -> Profile:
    keys = keys_of("alice")
    return Profile.create("alice", keys.signing, keys.opening, CURVE, now=now, random=os.urandom)


def plain(profile: Profile) -> tuple[object, ...]:
    """What a profile holds, as values that compare."""
    eks = tuple((aged.key.to_der(), aged.made, aged.superseded) for aged in profile.keys)
    rest = {one.name: getattr(profile, one.name) for one in fields(profile) if one.name not in ("signing", "keys")}
    return (profile.signing.to_der(), eks, rest)


def kids(profile: Profile) -> list[bytes]:
    return [aged.key.public.kid for aged in profile.keys]


# Form


@pytest.mark.parametrize("profile", [fresh(), fresh().rotated(EKS[1], NOW + DAY), fresh().renewed(NOW + 16 * DAY)])
def test_what_is_encoded_decodes(profile: Profile) -> None:
    assert plain(Profile.decode(profile.encode())) == plain(profile)


def test_no_secret_is_shown() -> None:
    profile = fresh()
    for secret in (profile.data_key, profile.curve_secret, profile.signing.to_der()):
        assert repr(secret) not in repr(profile)
        assert secret.hex() not in repr(profile)


@pytest.mark.parametrize("name", ["Alice", "", "everyone", "a" * 33])
def test_a_profile_has_a_username(name: str) -> None:
    keys = keys_of("alice")
    with pytest.raises(BadName):
        Profile.create(name, keys.signing, keys.opening, CURVE, now=NOW, random=os.urandom)


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"user": "Alice"},
        {"user": "everyone"},
        {"ik": b""},
        {"ik": bytes(100)},
        {"eks": []},
        {"eks": [[bytes(100), NOW, None]]},
        {"eks": [[EKS[0].to_der(), NOW]]},
        {"seq": "1"},
        {"curve": bytes(31)},
        {"sid": bytes(15)},
        {"data_key": bytes(33)},
        {"more": 1},
    ],
    ids=",".join,
)
def test_what_is_no_profile_is_damage(changes: dict[str, Any]) -> None:
    stored = msgspec.msgpack.decode(fresh().encode())
    with pytest.raises(KeystoreDamaged):
        Profile.decode(msgspec.msgpack.encode({**stored, **changes}))


@given(st.binary(max_size=200))
def test_noise_is_damage(raw: bytes) -> None:
    with pytest.raises(KeystoreDamaged):
        Profile.decode(raw)


# Rotation


def test_a_key_is_rotated_after_a_day() -> None:
    profile = fresh()
    assert not profile.rotation_due(NOW + ROTATE_AFTER - 1)
    assert profile.rotation_due(NOW + ROTATE_AFTER)
    rotated = profile.rotated(EKS[1], NOW + ROTATE_AFTER)
    assert not rotated.rotation_due(NOW + 2 * ROTATE_AFTER - 1)
    assert [(aged.made, aged.superseded) for aged in rotated.keys] == [(NOW, NOW + DAY), (NOW + DAY, None)]
    assert (rotated.seq, rotated.bundled) == (2, NOW + DAY)
    assert (rotated.kid, rotated.sid, rotated.curve_secret) == (profile.kid, profile.sid, profile.curve_secret)


def test_a_session_gets_all_keys_the_current_one_first() -> None:
    profile = fresh().rotated(EKS[1], NOW + DAY).rotated(EKS[2], NOW + 2 * DAY)
    identity = profile.identity(CURVE)
    assert [key.public.kid for key in identity.openings] == [EKS[at].public.kid for at in (2, 1, 0)]
    assert (identity.user, identity.kind, identity.kid, identity.sid) == ("alice", Kind.PROFILE, profile.kid, profile.sid)
    assert (identity.curve, identity.rotate_at, identity.renew_at) == (CURVE, NOW + 3 * DAY, None)


def test_the_bundle_is_of_the_newest_key_and_the_same_for_all_processes() -> None:
    profile = fresh().rotated(EKS[1], NOW + DAY)
    again = Profile.decode(profile.encode())
    one, other = (read_bundle(each.bundle(), "alice") for each in (profile, again))
    assert profile.bundle().body == again.bundle().body
    assert (one.ek.kid, one.seq, one.kind) == (EKS[1].public.kid, 2, Kind.PROFILE)
    assert (one.nbf, one.exp) == (NOW + DAY, NOW + DAY + BUNDLE_LIFE)
    assert other.ik.kid == profile.kid


def test_a_bundle_is_renewed_half_way_and_keeps_its_key() -> None:
    profile = fresh()
    assert profile.renewed(NOW + BUNDLE_LIFE // 2) is profile
    renewed = profile.renewed(NOW + BUNDLE_LIFE // 2 + 1)
    assert (renewed.seq, renewed.bundled, kids(renewed)) == (2, NOW + BUNDLE_LIFE // 2 + 1, kids(profile))
    late = profile.renewed(NOW + 100 * DAY)
    assert read_bundle(late.bundle(), "alice").valid_at((NOW + 100 * DAY) * 1000)


# Erasure


def test_a_superseded_key_is_kept_for_seven_days() -> None:
    profile = fresh().rotated(EKS[1], NOW + DAY)
    assert kids(profile.without_old_keys(NOW + DAY + KEEP_OLD - 1)) == kids(profile)
    kept = profile.without_old_keys(NOW + DAY + KEEP_OLD)
    assert kids(kept) == [EKS[1].public.kid]
    assert EKS[0].to_der() not in kept.encode()


def test_only_mail_that_was_seen_to_be_all_there_lets_a_key_go() -> None:
    """What counts is when the mail was drained, not what time it is now."""
    profile = fresh().rotated(EKS[1], NOW + DAY)
    assert kids(profile.without_old_keys(NOW)) == kids(profile)


def test_the_current_key_is_never_erased() -> None:
    profile = fresh()
    assert kids(profile.without_old_keys(NOW + 1000 * DAY)) == kids(profile)


@given(st.lists(st.tuples(st.integers(0, 10 * DAY), st.booleans()), max_size=30))
def test_over_any_time_the_keys_are_those_of_the_last_week(steps: list[tuple[int, bool]]) -> None:
    profile, now = fresh(), float(NOW)
    superseded: dict[int, float] = {}  # by the moment the key was made
    for pause, drained in steps:
        now += pause
        if profile.rotation_due(now):
            superseded[profile.keys[-1].made] = int(now)
            profile = profile.rotated(EKS[len(superseded) % len(EKS)], now)
        if drained:
            profile = profile.without_old_keys(now)
            superseded = {made: at for made, at in superseded.items() if now - at < KEEP_OLD}
        assert {aged.made: aged.superseded for aged in profile.keys[:-1]} == superseded
        assert profile.keys[-1].superseded is None
    assert profile.seq >= len(superseded) + 1


def test_an_aged_key_shows_no_secret() -> None:
    aged = AgedKey(OpeningKey.from_der(EKS[0].to_der()), NOW)
    assert repr(aged) == f"AgedKey(made={NOW}, superseded=None)"
    assert replace(aged, superseded=NOW + 1).superseded == NOW + 1


@pytest.mark.parametrize(("seq", "then"), [(1, NOW + DAY), (NOW + 2 * DAY, NOW + 2 * DAY + 1)])
def test_a_restored_profile_is_the_same_person_with_a_new_key_and_new_counters(seq: int, then: int) -> None:
    before = replace(fresh(), seq=seq)
    after = before.restored(EKS[1], NOW + DAY, random=os.urandom)
    assert (after.kid, after.data_key, after.curve_secret) == (before.kid, before.data_key, before.curve_secret)
    assert after.sid != before.sid
    assert len(after.sid) == len(before.sid)
    assert after.seq == then
    assert kids(after) == [*kids(before), EKS[1].public.kid]
    assert after.keys[0].superseded == after.bundled == NOW + DAY
    assert read_bundle(after.bundle(), "alice").ek.kid == EKS[1].public.kid
