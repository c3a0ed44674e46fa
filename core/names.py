"""Usernames, fingerprints and safety numbers."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import Final

from core.errors import BadFileName, BadName
from core.limits import FILE_NAME_MAX

EVERYONE: Final = "everyone"

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,31}\Z")


def is_name(text: str) -> bool:
    """Whether ``text`` is a username: ``[a-z0-9][a-z0-9_.-]{0,31}``, without ``..``, and not the reserved ``everyone``."""
    return bool(_NAME.match(text)) and ".." not in text and text != EVERYONE


def check_file_name(name: str) -> str:
    """Return ``name`` if it names a file and nothing else, on any system; raises BadFileName.

    No path, no control or formatting characters (which could show it as another one), at most 255 bytes in UTF-8.
    """
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise BadFileName(name=ascii(name)) from None
    hidden = any(unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp") for character in name)
    if not 0 < size <= FILE_NAME_MAX or name != name.strip() or name in (".", "..") or hidden or set(name) & set("/\\"):
        raise BadFileName(name=name)
    return name


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


def safety_number(user: str, kid: bytes, other: str, other_kid: bytes) -> str:
    """The 60-digit number that two people compare: the same from both ends, another for any other pair of keys.

    Each end gives 30 digits, six times five bytes modulo 100,000 of an iterated SHA-512 (the iterations make a search for
    look-alikes dearer); the smaller half stands first. Shown as 12 groups of 5.
    """
    groups = [group for half in sorted((_half(user, kid), _half(other, other_kid))) for group in half]
    return " ".join(groups)


def _half(user: str, kid: bytes) -> list[str]:
    label = b"sc1 safety number\0" + user.encode("ascii") + b"\0" + kid
    digest = label
    for _ in range(5200):
        digest = hashlib.sha512(digest + label).digest()
    return [f"{int.from_bytes(digest[at : at + 5], 'big') % 100_000:05}" for at in range(0, 30, 5)]
