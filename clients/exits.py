"""Exit codes: what they mean, and which one an error, a message or several of them end with."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Final

from core import errors
from core.events import Outcome

OK, OTHER, USAGE, NETWORK, UNTRUSTED, LIMIT, ABSENT, PARTIAL, TIMEOUT, LOCKED = range(10)
HUNG_UP: Final = 129
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141
TERMINATED: Final = 143

WORDS: Final = {
    OK: "every copy is stored or arrived",
    OTHER: "other",
    USAGE: "usage",
    NETWORK: "broker or network",
    UNTRUSTED: "changed or untrusted key",
    LIMIT: "limit",
    ABSENT: "unknown or absent user, name taken, not let in",
    PARTIAL: "only some copies",
    TIMEOUT: "time ran out",
    LOCKED: "locked",
}

# What can go wrong for every command, for what unlocks a profile, and for what asks a broker to let it in.
ALWAYS: Final = frozenset({OTHER, USAGE})
UNLOCKING: Final = ALWAYS | {LOCKED}
CONNECTING: Final = UNLOCKING | {NETWORK, UNTRUSTED, ABSENT}

# The most specific class that fits decides.
EXIT_CODES: Final[dict[type[errors.SecureChatError], int]] = {
    errors.SecureChatError: OTHER,
    errors.BadName: USAGE,
    errors.BadAddress: USAGE,
    errors.EmptyMessage: USAGE,
    errors.ConfigBroken: USAGE,
    errors.MessageTooLong: LIMIT,
    errors.NoRoomForFile: LIMIT,
    errors.BrokerUnreachable: NETWORK,
    errors.NotAdmitted: ABSENT,
    errors.BrokerKeyMismatch: UNTRUSTED,
    errors.BrokerKeyChanged: UNTRUSTED,
    errors.BadBundle: UNTRUSTED,
    errors.KeyChanged: UNTRUSTED,
    errors.NumbersDiffer: UNTRUSTED,
    errors.NotVerified: UNTRUSTED,
    errors.PeerBlocked: UNTRUSTED,
    errors.PeerUnknown: ABSENT,
    errors.KeystoreLocked: LOCKED,
    errors.WrongPassphrase: LOCKED,
    errors.LoginRefused: ABSENT,
    errors.UserAbsent: ABSENT,
    errors.TimeRanOut: TIMEOUT,
}

_FAILED: Final = {
    Outcome.UNTRUSTED: UNTRUSTED,
    Outcome.REFUSED: UNTRUSTED,
    Outcome.CHANGED: UNTRUSTED,
    Outcome.BLOCKED: UNTRUSTED,
    Outcome.DROPPED: OTHER,
    Outcome.UNPROVEN: OTHER,
    Outcome.FULL: LIMIT,
    Outcome.RATE: LIMIT,
    Outcome.UNSTORED: LIMIT,
    Outcome.EXPIRED: LIMIT,
    Outcome.ABSENT: ABSENT,
    Outcome.GONE: ABSENT,
    Outcome.QUEUED: TIMEOUT,
    Outcome.SENT: TIMEOUT,
}


def exit_code(error: errors.SecureChatError) -> int:
    """The exit code of an error."""
    return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)


def exit_code_of(outcomes: Iterable[Outcome]) -> int:
    """The exit code of a message: 0 if every copy is safe, 7 if only some are, else why the first one failed."""
    all_of_them = list(outcomes)
    failed = [_FAILED[one] for one in all_of_them if not one.safe]
    if not failed:
        return OK
    return PARTIAL if len(failed) < len(all_of_them) else min(failed)


def without_guests_who_left(outcomes: Mapping[str, Outcome], guests: Container[str]) -> dict[str, Outcome]:
    """The copies by which the exit code of a message to everyone is judged; all, if nobody else was to have one."""
    counted = {name: one for name, one in outcomes.items() if one is not Outcome.ABSENT or name not in guests}
    return counted or dict(outcomes)


def overall(codes: Sequence[int]) -> int:
    """The exit code of several messages: 0 if all are safe, 7 if only some are, else the smallest of the others."""
    failed = [code for code in codes if code != OK]
    return OK if not failed else PARTIAL if len(failed) < len(codes) else min(failed)
