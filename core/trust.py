"""What a person decides about a peer's key."""

from __future__ import annotations

from dataclasses import replace

from core.memory import Pin


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
