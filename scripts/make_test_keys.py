"""Make tests/vectors/keys.json, unless there is one: ``python -m scripts.make_test_keys``."""

from __future__ import annotations

import json
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.keys import NAMES, VECTORS


def make_keys(path: Path) -> None:
    """Make an identity key and an encryption key for everybody, unless there are some."""
    if path.exists():
        return
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    keys: dict[str, object] = {"about": "RSA keys of the test vectors. They are public, so they protect nothing."}
    for name in NAMES:
        pair = {job: rsa.generate_private_key(65537, 2048) for job in ("ik", "ek")}
        keys[name] = {job: key.private_bytes(pem, pkcs8, serialization.NoEncryption()).decode() for job, key in pair.items()}
    path.write_text(json.dumps(keys, indent=1) + "\n")


if __name__ == "__main__":
    make_keys(VECTORS / "keys.json")
