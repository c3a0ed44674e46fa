"""The fixed test keys of tests/vectors/keys.json, and an encryption key that counts its private operations.

They are published with the vectors, so they protect nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from core.rsa import OpeningKey, SigningKey

VECTORS: Final = Path(__file__).parent / "vectors"
NAMES: Final = ("alice", "bob", "carol", "dave", "mallory")
BROKER_KEY: Final = bytes(range(32))


class CountingKey(OpeningKey):
    """Counts how often the private key was used, whether or not that worked."""

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        super().__init__(key)
        self.operations = 0

    def open(self, block: bytes, label: bytes | None = None) -> bytes:
        self.operations += 1
        return super().open(block, label)


@dataclass(frozen=True)
class Keys:
    """One person's key pairs."""

    signing: SigningKey
    opening: CountingKey


@cache
def private_key(name: str, job: str) -> rsa.RSAPrivateKey:
    """The private key of ``name`` for ``job`` (``ik`` or ``ek``)."""
    stored = json.loads((VECTORS / "keys.json").read_text())
    key = serialization.load_pem_private_key(stored[name][job].encode(), None, unsafe_skip_rsa_key_validation=True)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def keys_of(name: str) -> Keys:
    """The keys of ``name``, with a counter of their own."""
    return Keys(SigningKey(private_key(name, "ik")), CountingKey(private_key(name, "ek")))
