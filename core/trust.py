"""What becomes of a pin: when its name shows a key, and when a person decides about it."""

from __future__ import annotations

from dataclasses import replace

from core.memory import Pin


def holds(pin: Pin) -> bool:
    """Whether another key under this name has to wait for a person: it was ever a profile's, or verified, or is blocked."""
    return pin.profile or pin.verified is not None or pin.blocked


def seen(pin: Pin | None, user: str, kid: bytes, *, profile: bool, now_ms: int) -> Pin:
    """The pin of ``user`` after the name has shown the key ``kid`` (32 bytes), as a profile's or a guest's.

    A first key is pinned. Another one replaces the pin of a guest; under any other name it is only noted.
    """
    if pin is None:
        return Pin(user, kid, profile, now_ms)
    if pin.kid == kid:
        return replace(pin, profile=pin.profile or profile)
    if not holds(pin):
        return Pin(user, kid, profile, now_ms)
    return pin if pin.offered == kid else replace(pin, offered=kid, offered_at=now_ms)


def verify(pin: Pin, now_ms: int) -> Pin:
    """The numbers were compared: the key (the changed one, if there is one) is accepted and verified."""
    return replace(trust(pin, now_ms), verified=now_ms)


def trust(pin: Pin, now_ms: int) -> Pin:
    """Accept a changed key, which is then no longer verified, and end a block."""
    if pin.offered is None:
        return replace(pin, blocked=False)
    return replace(pin, kid=pin.offered, since=now_ms, verified=None, blocked=False, offered=None, offered_at=None)


def block(pin: Pin) -> Pin:
    """Send nothing to this name, and take nothing from it."""
    return replace(pin, blocked=True)
