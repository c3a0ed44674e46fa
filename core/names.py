"""Usernames and fingerprints."""

from __future__ import annotations

import re
from typing import Final

from core.errors import BadName

EVERYONE: Final = "everyone"

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,31}\Z")


def is_name(text: str) -> bool:
    """Whether ``text`` is a username: ``[a-z0-9][a-z0-9_.-]{0,31}``, without ``..``, and not the reserved ``everyone``."""
    return bool(_NAME.match(text)) and ".." not in text and text != EVERYONE


def check_name(text: str) -> str:
    """Return ``text`` if it is a username, else raise BadName."""
    if not is_name(text):
        raise BadName(name=text)
    return text


def normalise_name(typed: str) -> str:
    """Lower-case and trim what a person typed. The result may still not be a username."""
    return typed.strip().lower()


def fingerprint(kid: bytes) -> str:
    """Show a key's kid (32 bytes) for comparing in full: 16 groups of 4 hexadecimal digits."""
    digits = kid.hex()
    return " ".join(digits[at : at + 4] for at in range(0, len(digits), 4))


def short_fingerprint(kid: bytes) -> str:
    """Show the first 8 bytes of a kid: enough to tell keys apart at a glance, not enough to rely on."""
    return fingerprint(kid[:8])
