"""What a client says of a broker that says no."""

from __future__ import annotations

import pytest

from core import frames
from core.events import Disconnected, Refused
from core.messages import Challenge, Error, Reason
from core.states import State
from tests.pairs import World

WORDS = {
    Reason.NAME_TAKEN: "alice",
    Reason.NOT_INVITED: "invite",
    Reason.VERSION: "version",
    Reason.LOGIN_FAILED: "login-failed",
}


@pytest.mark.parametrize("reason", WORDS)
def test_a_refusal_says_why(reason: Reason) -> None:
    world = World()
    alice = world.make("alice")
    world.begin(alice)
    alice.session.outgoing()
    alice.session.receive(frames.control(Challenge(bytes(32))), world.now)
    (event,) = alice.session.receive(frames.control(Error(reason)), world.now)
    assert isinstance(event, Refused)
    assert WORDS[reason] in f"{event.error} {event.error.advice}"
    assert alice.session.state is State.REFUSED


def test_a_broker_that_ends_a_session_is_quoted() -> None:
    world = World()
    alice = world.join("alice")
    events = alice.session.receive(frames.control(Error(Reason.MALFORMED)), world.now)
    assert events == [Disconnected("the broker said 'malformed'")]
    assert alice.session.state is State.OFFLINE
