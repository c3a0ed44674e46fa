"""Where a client's connection stands, and what may happen there."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from core.messages import (
    Bundles,
    Bye,
    CaughtUp,
    Challenge,
    Deliver,
    Error,
    Extent,
    FromBroker,
    Kept,
    NoBlob,
    Piece,
    Ping,
    Pong,
    Results,
    Roster,
    Welcome,
)


class State(StrEnum):
    """Where the connection stands."""

    OFFLINE = "offline"
    GREETED = "greeted"
    PROVING = "proving"
    READY = "ready"
    LEAVING = "leaving"
    REFUSED = "refused"


class Connect:
    """This side begins a login on a new connection."""


class Leave:
    """This side has said goodbye, and waits for the broker's."""


class Lost:
    """The connection is gone."""


Cue = FromBroker | Connect | Leave | Lost

# What can happen in each state, and where that leads. An absent cell is a breach of protocol, by whoever caused it.
TRANSITIONS: Final[dict[State, dict[type[Cue], State]]] = {
    State.OFFLINE: {Connect: State.GREETED, Lost: State.OFFLINE},
    State.GREETED: {Challenge: State.PROVING, Error: State.REFUSED, Bye: State.OFFLINE, Lost: State.OFFLINE},
    State.PROVING: {
        Welcome: State.READY,
        Error: State.REFUSED,
        Bye: State.OFFLINE,
        Leave: State.LEAVING,
        Lost: State.OFFLINE,
    },
    State.READY: {
        Roster: State.READY,
        Bundles: State.READY,
        Deliver: State.READY,
        Results: State.READY,
        CaughtUp: State.READY,
        Kept: State.READY,
        Extent: State.READY,
        NoBlob: State.READY,
        Piece: State.READY,
        Ping: State.READY,
        Pong: State.READY,
        Error: State.OFFLINE,
        Bye: State.OFFLINE,
        Leave: State.LEAVING,
        Lost: State.OFFLINE,
    },
    State.LEAVING: {
        Welcome: State.LEAVING,
        Roster: State.LEAVING,
        Bundles: State.LEAVING,
        Deliver: State.LEAVING,
        Results: State.LEAVING,
        CaughtUp: State.LEAVING,
        Kept: State.LEAVING,
        Extent: State.LEAVING,
        NoBlob: State.LEAVING,
        Piece: State.LEAVING,
        Ping: State.LEAVING,
        Pong: State.LEAVING,
        Error: State.OFFLINE,
        Bye: State.OFFLINE,
        Lost: State.OFFLINE,
    },
    State.REFUSED: {Lost: State.REFUSED},
}
