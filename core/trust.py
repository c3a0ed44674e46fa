"""What becomes of a pin: when its name shows a key, and when a person decides about it."""

from __future__ import annotations

from dataclasses import replace

from core.memory import Pin


def admits(pin: Pin, kid: bytes) -> bool:
    """Whether what comes under the name with the key ``kid`` (32 bytes) is taken: a guest's keys may change, unverified."""
    return not pin.blocked and (pin.kid == kid or not (pin.profile or pin.verified is not None))


def seen(pin: Pin | None, user: str, kid: bytes, *, profile: bool, now_ms: int) -> Pin:
    """The pin of ``user`` after the name has shown the key ``kid``, as a profile's or a guest's.

    A first key is pinned. Another one replaces the pin that admits it; beside any other it is only noted.
    """
    if pin is None:
        return Pin(user, kid, profile, now_ms)
    if not admits(pin, kid):
        return turned_away(pin, kid, now_ms)
    return replace(pin, profile=pin.profile or profile) if pin.kid == kid else Pin(user, kid, profile, now_ms)


def turned_away(pin: Pin, kid: bytes, now_ms: int) -> Pin:
    """The pin with a key noted beside it that it does not admit. A block stays as it is."""
    if pin.blocked or kid in (pin.kid, pin.offered):
        return pin
    return replace(pin, offered=kid, offered_at=now_ms)


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
