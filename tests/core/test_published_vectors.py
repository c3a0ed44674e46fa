"""Published vectors (Wycheproof) against core.rsa, and against the AES-GCM as core.envelope uses it.

They are no part of this repository: set SECURECHAT_VECTORS to their folder, or put it at ``../shared/vectors``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from core import rsa as core_rsa
from core.errors import BadSignature, KeyRefused
from core.limits import GCM_IV
from core.rsa import OpeningKey, Purpose, VerifyKey

FOLDER = Path(os.environ.get("SECURECHAT_VECTORS") or Path(__file__).parents[2].parent / "shared" / "vectors")


def _groups(name: str) -> list[dict[str, Any]]:
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"the published vectors {name} are not there; set SECURECHAT_VECTORS to their folder")
    groups: list[dict[str, Any]] = json.loads(path.read_text())["testGroups"]
    return groups


def test_oaep_2048_sha256() -> None:
    opened = refused = 0
    for group in _groups("rsa_oaep_2048_sha256_mgf1sha256_test.json"):
        key = serialization.load_pem_private_key(group["privateKeyPem"].encode(), None)
        assert isinstance(key, rsa.RSAPrivateKey)
        opening = OpeningKey(key)
        for test in group["tests"]:
            block, label = bytes.fromhex(test["ct"]), bytes.fromhex(test["label"])
            if test["result"] == "valid":
                assert opening.open(block, label).hex() == test["msg"], test["comment"]
                opened += 1
            else:
                with pytest.raises(ValueError, match=r"."):
                    opening.open(block, label)
                refused += 1
    assert opened > 10
    assert refused > 10


@pytest.mark.parametrize("name", ["rsa_pss_2048_sha256_mgf1_32_test.json", "rsa_pss_misc_test.json"])
def test_pss_2048_sha256_salt_32(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The vectors sign plain messages, so the purpose's prefix is taken away; all else is what every signature goes through.
    monkeypatch.setattr(core_rsa, "signing_input", lambda _, payload: payload)
    held = failed = 0
    for group in _groups(name):
        ours = (group["sha"], group["mgfSha"], group["sLen"]) == ("SHA-256", "SHA-256", 32)
        try:
            key = VerifyKey(bytes.fromhex(group["publicKeyDer"]))
        except KeyRefused:
            continue  # outside the import policy, so not ours
        for test in group["tests"]:
            message, signature = bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"])
            if test["result"] != "invalid" and ours:
                key.verify(Purpose.LOGIN, message, signature)
                held += 1
            else:  # not valid, or with another hash or salt: those are not taken either
                with pytest.raises(BadSignature):
                    key.verify(Purpose.LOGIN, message, signature)
                failed += 1
    assert failed > 10
    assert held > 0


def test_keys_outside_the_policy_are_refused() -> None:
    sizes = {}
    for group in _groups("rsa_oaep_misc_test.json"):
        key = serialization.load_pem_private_key(group["privateKeyPem"].encode(), None, unsafe_skip_rsa_key_validation=True)
        assert isinstance(key, rsa.RSAPrivateKey)
        sizes[key.key_size] = key
    assert len(sizes) > 2
    for size, key in sizes.items():
        if size == 2048:
            OpeningKey(key)
        else:
            with pytest.raises(KeyRefused):
                OpeningKey(key)


def test_aes_256_gcm() -> None:
    held = failed = 0
    for group in _groups("aes_gcm_test.json"):
        if (group["keySize"], group["ivSize"], group["tagSize"]) != (256, GCM_IV * 8, 128):
            continue
        for test in group["tests"]:
            cipher = AESGCM(bytes.fromhex(test["key"]))
            iv, aad = bytes.fromhex(test["iv"]), bytes.fromhex(test["aad"])
            body = bytes.fromhex(test["ct"] + test["tag"])
            if test["result"] == "valid":
                assert cipher.decrypt(iv, body, aad).hex() == test["msg"]
                assert cipher.encrypt(iv, bytes.fromhex(test["msg"]), aad) == body
                held += 1
            else:
                with pytest.raises(InvalidTag):
                    cipher.decrypt(iv, body, aad)
                failed += 1
    assert held > 10
    assert failed > 10
