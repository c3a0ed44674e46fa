"""Who may log in under which name, by which key: the router and its log, without sockets."""

from __future__ import annotations

import os

import pytest

from broker.ledger import Admitted, Claimed, Invited, Released, Revoked
from core import frames, messages
from core.bundle import Kind, sign_bundle
from core.encoding import b64url
from core.errors import NameTaken, NotInvited
from core.events import Outcome, PeerKeyChanged, Refused
from core.limits import LOGIN_TIME_MAX
from core.memory import SessionMemory
from core.messages import Bundles, CaughtUp, Error, Mode, Reason, Roster, Welcome
from core.states import State
from tests.attacks.lies import Town, profile_identity
from tests.broker.raw import Raw, refusal
from tests.keys import keys_of
from tests.pairs import Client, swallow

CURVE = os.urandom(32)


@pytest.fixture
def town() -> Town:
    return Town()


def kid(name: str) -> str:
    return b64url(keys_of(name).signing.public.kid)


def try_to_join(town: Town, client: Client, client_key: bytes | None = None) -> Reason | State:
    """Log in; returns the state that comes of it, or why the broker says no."""
    told: list[Reason] = []

    def listen(raw: frames.Frames) -> list[frames.Frames]:
        message = frames.read_from_broker(raw)
        if isinstance(message, Error):
            told.append(message.reason)
        return [raw]

    client.to_client = listen
    town.begin(client, client_key)
    town.settle()
    return told[0] if told else client.session.state


def invite(town: Town, uses: int = 1, seconds: int = 3600) -> bytes:
    """A fresh invite's public key."""
    key = os.urandom(32)
    town.commit(Invited(b64url(key), uses, int(town.now.wall) + seconds, int(town.now.wall)))
    return key


def used(town: Town, key: bytes) -> int:
    found = town.ledger.invite(key)
    assert found is not None
    return found[1].used


# Names


def test_a_profile_claims_a_free_name_before_it_is_let_in(town: Town) -> None:
    town.log_waits = True
    alice = town.profile("alice")
    assert try_to_join(town, alice) is State.PROVING
    (claim,) = town.unsafe
    assert claim == Claimed("alice", kid("alice"), b64url(alice.session.me.curve or b""), None, int(town.now.wall))
    assert town.ledger.owner("alice") is None
    assert town.router.directory.holder("alice") is None
    town.commit()
    town.settle()
    assert alice.session.state is State.READY
    assert town.ledger.owner("alice") == claim


def test_a_profile_comes_back_without_another_claim(town: Town) -> None:
    alice = town.join_profile("alice")
    before = list(town.log)
    town.lose(alice)
    assert try_to_join(town, alice) is State.READY
    assert town.log == before


def test_no_other_key_gets_a_profiles_name_present_or_not(town: Town) -> None:
    alice = town.join_profile("alice")
    for _ in range(2):
        for other in (town.profile("alice", keys=keys_of("mallory")), town.make("alice", keys=keys_of("mallory"))):
            assert try_to_join(town, other) is Reason.NAME_TAKEN
            (refused,) = [event for event in other.events if isinstance(event, Refused)]
            assert isinstance(refused.error, NameTaken)
        town.lose(alice)
    assert try_to_join(town, alice) is State.READY


def test_a_guest_cannot_take_a_profiles_name_even_with_its_key(town: Town) -> None:
    alice = town.join_profile("alice")
    town.lose(alice)
    assert try_to_join(town, town.make("alice")) is Reason.NAME_TAKEN


def test_a_guests_name_can_be_claimed_once_it_is_free(town: Town) -> None:
    guest = town.join("bob", keys=keys_of("carol"))
    profile = town.profile("bob")
    assert try_to_join(town, profile) is Reason.NAME_TAKEN
    assert town.log == []
    town.lose(guest)
    assert try_to_join(town, town.profile("bob")) is State.READY
    assert try_to_join(town, guest) is Reason.NAME_TAKEN


def test_of_two_profiles_in_a_race_for_a_name_one_wins(town: Town) -> None:
    town.log_waits = True
    first, second = town.profile("alice"), town.profile("alice", keys=keys_of("mallory"))
    assert try_to_join(town, first) is State.PROVING
    assert try_to_join(town, second) is Reason.NAME_TAKEN
    guest = town.make("alice", keys=keys_of("carol"))
    assert try_to_join(town, guest) is Reason.NAME_TAKEN
    town.commit()
    town.settle()
    assert first.session.state is State.READY
    assert [event.user for event in town.log if isinstance(event, Claimed)] == ["alice"]


def test_whoever_is_first_in_the_log_wins_whoever_came_first(town: Town) -> None:
    """Another broker process, or whatever appends to the log, was quicker."""
    town.log_waits = True
    alice = town.profile("alice")
    assert try_to_join(town, alice) is State.PROVING
    town.commit(Claimed("alice", kid("mallory"), b64url(CURVE), None, 1))
    town.settle()
    assert alice.session.state is State.REFUSED
    (refused,) = [event for event in alice.events if isinstance(event, Refused)]
    assert isinstance(refused.error, NameTaken)
    owner = town.ledger.owner("alice")
    assert owner is not None
    assert owner.kid == kid("mallory")
    assert town.router.directory.holder("alice") is None


def test_two_processes_of_one_profile_may_race(town: Town) -> None:
    town.log_waits = True
    identity = profile_identity("alice")
    both = [town.enter(identity, None, keys_of("alice")) for _ in range(2)]
    assert [try_to_join(town, one) for one in both] == [State.PROVING] * 2
    town.commit()
    town.settle()
    assert [one.session.state for one in both] == [State.READY] * 2


def test_whoever_leaves_while_the_claim_is_written_has_the_name_all_the_same(town: Town) -> None:
    town.log_waits = True
    alice = town.profile("alice")
    try_to_join(town, alice)
    town.lose(alice)
    town.commit()
    assert town.ledger.owner("alice") is not None
    assert town.router.connections == {}
    assert town.router.door.find(alice.rid) is None
    assert try_to_join(town, alice) is State.READY


def test_a_disk_that_is_slow_ends_the_login_not_the_claim(town: Town) -> None:
    town.log_waits = True
    alice = town.profile("alice")
    try_to_join(town, alice)
    town.pass_time(LOGIN_TIME_MAX + 1)
    town.router.sweep(town.now)
    town.commit()
    town.settle()
    assert (alice.session.state, alice.session.in_doubt) == (State.OFFLINE, True)  # not refused: it is to come again
    assert town.router.connections == {}
    assert town.ledger.owner("alice") is not None
    assert try_to_join(town, alice) is State.READY


def test_proving_twice_while_the_claim_is_written_claims_once(town: Town) -> None:
    town.log_waits = True
    alice = town.profile("alice")
    alice.to_broker = lambda raw: [raw, raw] if raw[0][:1] == b"P" else [raw]
    assert try_to_join(town, alice) is State.PROVING
    assert len(town.unsafe) == 1


def test_a_released_name_is_whoever_claims_it_next(town: Town) -> None:
    memory = SessionMemory()
    bob = town.join_profile("bob", memory)
    alice = town.join_profile("alice")
    town.say(bob, "it is me", "alice")
    town.say(alice, "and me", "bob")
    town.lose(alice)
    town.commit(Released("alice", 1))
    assert town.ledger.owner("alice") is None
    other = town.profile("alice", keys=keys_of("mallory"))
    assert try_to_join(town, other) is State.READY
    town.tick()
    assert try_to_join(town, alice) is Reason.NAME_TAKEN
    id_ = town.say(bob, "still you?", "alice")  # to the peers it is a changed key
    assert bob.last(id_) == {"alice": Outcome.CHANGED}
    assert other.messages == []
    assert [event.accepted for event in bob.events if isinstance(event, PeerKeyChanged)] == [False]


def test_a_release_does_not_cut_who_is_connected(town: Town) -> None:
    alice, bob = town.join_profile("alice"), town.join("bob")
    town.commit(Released("alice", 1))
    assert try_to_join(town, town.profile("alice", keys=keys_of("mallory"))) is Reason.NAME_TAKEN
    id_ = town.say(bob, "still there?", "alice")
    assert bob.last(id_) == {"alice": Outcome.DELIVERED}
    assert alice.session.state is State.READY


@pytest.mark.parametrize("changes", [{"curve": None}, {"kind": Kind.GUEST}], ids=str)
def test_a_profiles_hello_is_whole(town: Town, changes: dict[str, object]) -> None:
    raw = Raw(town, os.urandom(5), CURVE)
    keys = keys_of("mallory")
    bundle = sign_bundle("mallory", Kind.PROFILE, keys.signing, keys.opening.public, seq=1, now=town.now.wall)
    hello = raw.hello(kind=changes.get("kind", Kind.PROFILE), curve=changes.get("curve", CURVE), bundle=bundle)
    assert refusal(raw.log_in(hello)) is Reason.LOGIN_FAILED
    assert town.log == []


def test_a_profile_may_claim_a_name_without_a_bundle_in_mode_send(town: Town) -> None:
    raw = Raw(town, os.urandom(5), CURVE)
    answer = raw.log_in(raw.hello(kind=Kind.PROFILE, curve=CURVE, bundle=None, mode=Mode.SEND))
    assert isinstance(answer, Welcome)
    owner = town.ledger.owner("mallory")
    assert owner is not None
    assert owner.curve == b64url(CURVE)


# Invites


def test_a_profile_consumes_a_use_with_its_claim_and_none_by_coming_back(town: Town) -> None:
    key = invite(town)
    alice = town.profile("alice")
    assert try_to_join(town, alice, key) is State.READY
    assert used(town, key) == 1
    curve = alice.session.me.curve
    assert curve is not None
    assert town.ledger.knows(curve, town.now.wall)
    for way_in in (curve, key):
        town.lose(alice)
        assert try_to_join(town, alice, way_in) is State.READY
    assert used(town, key) == 1


@pytest.mark.parametrize("profile", [True, False])
def test_whoever_did_not_hear_that_the_invite_let_them_in_comes_in_by_it_again(town: Town, profile: bool) -> None:
    """The WELCOME is lost after the only use was consumed: the same name and key still get by, and nobody else does."""
    key = invite(town)
    alice = town.profile("alice") if profile else town.make("alice")
    alice.to_client = swallow(Welcome, Roster, CaughtUp)
    town.begin(alice, key)
    town.settle()
    assert (alice.session.state, alice.session.in_doubt, used(town, key)) == (State.PROVING, True, 1)
    for lost in (True, False):  # the broker may not have noticed that the first connection is gone
        if lost:
            town.lose(alice)
        else:
            alice.session.lost()
        assert town.ledger.knows(key, town.now.wall)
        assert try_to_join(town, alice, key) is State.READY
        assert (alice.session.in_doubt, used(town, key)) == (False, 1)
    for other in (town.profile("bob"), town.make("alice", keys=keys_of("mallory"))):
        assert try_to_join(town, other, key) in (Reason.NOT_INVITED, Reason.NAME_TAKEN)
    assert used(town, key) == 1


def test_a_guest_comes_back_after_the_invite_is_used_up_over_and_revoked(town: Town) -> None:
    key = invite(town)
    guest = town.make("bob")
    assert try_to_join(town, guest, key) is State.READY
    town.commit(Revoked(b64url(key), 1))
    town.pass_time(7200)
    for _ in range(2):
        town.lose(guest)
        assert town.ledger.knows(key, town.now.wall)
        assert try_to_join(town, guest, key) is State.READY
    assert used(town, key) == 1
    assert [type(event) for event in town.log] == [Invited, Admitted, Revoked]


@pytest.mark.parametrize("end", ["used up", "over", "revoked"])
@pytest.mark.parametrize("profile", [True, False])
def test_an_invite_at_its_end_lets_nobody_new_in(town: Town, end: str, profile: bool) -> None:
    key = invite(town)
    if end == "used up":
        assert try_to_join(town, town.make("dave"), key) is State.READY
    elif end == "over":
        town.pass_time(3600)
    else:
        town.commit(Revoked(b64url(key), 1))
    newcomer = town.profile("alice") if profile else town.make("alice")
    assert try_to_join(town, newcomer, key) is Reason.NOT_INVITED
    (refused,) = [event for event in newcomer.events if isinstance(event, Refused)]
    assert isinstance(refused.error, NotInvited)
    assert town.ledger.owner("alice") is None
    assert used(town, key) == (1 if end == "used up" else 0)


def test_the_same_name_with_another_key_or_another_name_with_the_same_key_is_new(town: Town) -> None:
    key = invite(town, uses=1)
    guest = town.make("bob")
    assert try_to_join(town, guest, key) is State.READY
    town.lose(guest)
    assert try_to_join(town, town.make("bob", keys=keys_of("mallory")), key) is Reason.NOT_INVITED
    assert try_to_join(town, town.make("carol", keys=keys_of("bob")), key) is Reason.NOT_INVITED


def test_who_is_on_the_way_in_counts(town: Town) -> None:
    key = invite(town, uses=2)
    town.log_waits = True
    newcomers = [town.make(name) for name in ("alice", "bob", "carol")]
    verdicts = [try_to_join(town, one, key) for one in newcomers]
    assert verdicts == [State.PROVING, State.PROVING, Reason.NOT_INVITED]
    town.commit()
    town.settle()
    assert [one.session.state for one in newcomers] == [State.READY, State.READY, State.REFUSED]
    assert used(town, key) == 2


def test_a_taken_name_consumes_nothing(town: Town) -> None:
    town.join_profile("alice")
    key = invite(town)
    assert try_to_join(town, town.profile("alice", keys=keys_of("mallory")), key) is Reason.NAME_TAKEN
    assert used(town, key) == 0


def test_a_login_that_fails_consumes_nothing(town: Town) -> None:
    key = invite(town)
    raw = Raw(town, os.urandom(5), key)
    assert refusal(raw.log_in(signing=keys_of("alice").signing)) is Reason.LOGIN_FAILED
    assert used(town, key) == 0


def test_a_key_of_no_invite_consumes_nothing(town: Town) -> None:
    key = invite(town)
    assert try_to_join(town, town.make("bob"), os.urandom(32)) is State.READY
    assert used(town, key) == 0
    assert town.ledger.invite(os.urandom(32)) is None


# What everybody is told


def test_the_roster_says_who_is_a_profile(town: Town) -> None:
    town.join_profile("alice")
    town.join("bob")
    raw = Raw.open(town)
    raw.log_in()
    town.router.roster_tick()
    town.take(raw.rid, raw.client_key, frames.control(messages.Users()))
    rosters = [frames.read_from_broker(one) for one in town.said[raw.rid]]
    kinds = {entry.user: entry.kind for one in rosters if isinstance(one, Roster) and one.full for entry in one.joined}
    assert kinds == {"alice": Kind.PROFILE, "bob": Kind.GUEST, "mallory": Kind.GUEST}


@pytest.mark.parametrize("owner", [True, False])
def test_whoever_is_away_is_looked_up_only_if_the_name_is_theirs(town: Town, owner: bool) -> None:
    alice, bob = town.join_profile("alice") if owner else town.join("alice"), town.join("bob")
    town.lose(alice)
    answers: list[object] = []
    bob.to_client = lambda raw: answers.append(frames.read_from_broker(raw)) or [raw]  # type: ignore[func-returns-value]
    outcome = bob.last(town.say(bob, "x", "alice"))
    (bundles,) = [one for one in answers if isinstance(one, Bundles)]
    assert bundles.found[0].bundle == (alice.session.me.bundle if owner else None)
    assert outcome == {"alice": Outcome.STORED if owner else Outcome.ABSENT}
