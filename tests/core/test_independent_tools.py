"""Programs that know nothing of this project open and verify what it makes, and the other way round."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from jwcrypto import jwe, jwk, jws

from core import chunking
from core.bundle import Kind, Suite, sign_bundle
from core.content import Text, decode_content, encode_content, pad, unpad
from core.encoding import b64url
from core.envelope import Sealed, To, block_labels, direct_cid, everyone_cid, seal, signed_bytes
from core.errors import BadSignature
from core.login import LoginContext, prove
from core.rsa import Purpose, signing_input
from tests.forge import CHUNKED, HYBRID, counted_random
from tests.keys import BROKER_KEY, keys_of, private_key

ALICE, BOB, CAROL = map(keys_of, ("alice", "bob", "carol"))
TEXT = "Grüße \N{SNOWMAN}, " + "x" * 300
OAEP = ["rsa_padding_mode:oaep", "rsa_oaep_md:sha256", "rsa_mgf1_md:sha256"]
PSS = ["rsa_padding_mode:pss", "rsa_pss_saltlen:32", "rsa_mgf1_md:sha256"]

needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="the openssl command line is not installed")


def _pem(name: str, job: str) -> bytes:
    key = private_key(name, job)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _openssl(tmp_path: Path, command: str, *options: str, **files: bytes) -> subprocess.CompletedProcess[bytes]:
    """Run openssl with each option ``@name`` replaced by a file of that content."""
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    arguments = [str(tmp_path / one[1:]) if one.startswith("@") else one for one in options]
    return subprocess.run(["openssl", command, *arguments], capture_output=True, timeout=30, check=False)


def _options(flag: str, values: list[str]) -> list[str]:
    return [part for value in values for part in (flag, value)]


def _sealed(suite: Suite, *, everyone: bool = False) -> Sealed:
    to = [To("bob", BOB.opening.public, 1), To("carol", CAROL.opening.public, 1)][: 2 if everyone else 1]
    return seal(
        Text(TEXT),
        suite=suite,
        sender="alice",
        kind=Kind.GUEST,
        signing=ALICE.signing,
        sid=bytes(16),
        mid=bytes(16),
        cid=everyone_cid(BROKER_KEY) if everyone else direct_cid(ALICE.signing.public.kid, BOB.signing.public.kid),
        to=to,
        now_ms=1_800_000_000_000,
        random=counted_random("independent"),
    )


@needs_openssl
def test_openssl_opens_every_block_of_a_chunked_message(tmp_path: Path) -> None:
    sealed = _sealed(Suite.CHUNKED)
    blocks = chunking.split_sealed(sealed.wraps[0])
    labels = block_labels(sealed.parts[0], len(blocks))
    assert len(blocks) == 3
    opened = []
    for block, label in zip(blocks, labels, strict=True):
        pkeyopts = _options("-pkeyopt", [*OAEP, f"rsa_oaep_label:{label.hex()}"])
        done = _openssl(
            tmp_path, "pkeyutl", "-decrypt", "-inkey", "@key", "-in", "@block", *pkeyopts, key=_pem("bob", "ek"), block=block
        )
        assert done.returncode == 0, done.stderr
        opened.append(done.stdout)
    plain = b"".join(opened)
    assert plain[:32] == sealed.secret
    assert decode_content(unpad(plain[32:])) == Text(TEXT)


@needs_openssl
def test_openssl_opens_no_block_under_another_place(tmp_path: Path) -> None:
    sealed = _sealed(Suite.CHUNKED)
    blocks = chunking.split_sealed(sealed.wraps[0])
    for label in (*block_labels(sealed.parts[0], len(blocks))[1:], block_labels(sealed.parts[0], 4)[0]):
        pkeyopts = _options("-pkeyopt", [*OAEP, f"rsa_oaep_label:{label.hex()}"])
        done = _openssl(
            tmp_path,
            "pkeyutl",
            "-decrypt",
            "-inkey",
            "@key",
            "-in",
            "@block",
            *pkeyopts,
            key=_pem("bob", "ek"),
            block=blocks[0],
        )
        assert done.returncode != 0
        assert done.stdout == b""


@needs_openssl
@pytest.mark.parametrize("label", [b"", b"a label"])
def test_what_openssl_seals_is_opened_here(tmp_path: Path, label: bytes) -> None:
    pkeyopts = _options("-pkeyopt", [*OAEP, *([f"rsa_oaep_label:{label.hex()}"] if label else [])])
    done = _openssl(
        tmp_path,
        "pkeyutl",
        "-encrypt",
        "-pubin",
        "-inkey",
        "@key",
        "-in",
        "@data",
        *pkeyopts,
        key=BOB.opening.public.pem.encode(),
        data=b"d" * 190,
    )
    assert done.returncode == 0, done.stderr
    assert BOB.opening.open(done.stdout, label) == b"d" * 190


def _payloads() -> list[Any]:
    context = LoginContext(BROKER_KEY, b"c" * 32, b"n" * 32, b"m" * 32, "alice")
    bundle = sign_bundle("alice", Kind.GUEST, ALICE.signing, ALICE.opening.public, seq=1, now=1_800_000_000)
    hybrid, chunked = _sealed(Suite.HYBRID).parts, _sealed(Suite.CHUNKED, everyone=True).parts
    return [
        pytest.param(Purpose.LOGIN, context.payload(ALICE.signing.public.kid), prove(ALICE.signing, context), id="login"),
        pytest.param(Purpose.BUNDLE, bundle.body, bundle.signature, id="bundle"),
        pytest.param(Purpose.ENVELOPE, signed_bytes(HYBRID, *hybrid[:4]), hybrid[4], id="hybrid"),
        pytest.param(Purpose.CHUNKED, signed_bytes(CHUNKED, *chunked[:4]), chunked[4], id="chunked"),
    ]


@needs_openssl
@pytest.mark.parametrize(("purpose", "payload", "signature"), _payloads())
def test_openssl_verifies_every_kind_of_signature(tmp_path: Path, purpose: Purpose, payload: bytes, signature: bytes) -> None:
    sigopts = _options("-sigopt", PSS)
    for other in Purpose:
        done = _openssl(
            tmp_path,
            "dgst",
            "-sha256",
            "-verify",
            "@key",
            "-signature",
            "@signature",
            *sigopts,
            "@input",
            key=ALICE.signing.public.pem.encode(),
            signature=signature,
            input=signing_input(other, payload),
        )
        assert (done.stdout == b"Verified OK\n") is (other is purpose)


@needs_openssl
@pytest.mark.parametrize("salt", [0, 20, 32, 64])
def test_only_a_salt_of_32_bytes_is_taken_from_openssl(tmp_path: Path, salt: int) -> None:
    sigopts = _options("-sigopt", ["rsa_padding_mode:pss", f"rsa_pss_saltlen:{salt}", "rsa_mgf1_md:sha256"])
    payload = b"payload"
    signed = _openssl(
        tmp_path,
        "dgst",
        "-sha256",
        "-sign",
        "@key",
        *sigopts,
        "@input",
        key=_pem("alice", "ik"),
        input=signing_input(Purpose.LOGIN, payload),
    )
    assert signed.returncode == 0, signed.stderr
    if salt == 32:
        ALICE.signing.public.verify(Purpose.LOGIN, payload, signed.stdout)
    else:
        with pytest.raises(BadSignature):
            ALICE.signing.public.verify(Purpose.LOGIN, payload, signed.stdout)


@needs_openssl
def test_openssl_reads_the_public_key_as_shown(tmp_path: Path) -> None:
    done = _openssl(tmp_path, "rsa", "-pubin", "-in", "@key", "-noout", "-text", key=BOB.opening.public.pem.encode())
    assert b"Public-Key: (2048 bit)" in done.stdout
    assert b"Exponent: 65537" in done.stdout


# JOSE


def _general_jwe(sealed: Sealed) -> str:
    header, _, iv, body = sealed.parts[:4]
    return json.dumps(
        {
            "protected": b64url(header),
            "recipients": [{"encrypted_key": b64url(wrap)} for wrap in sealed.wraps],
            "iv": b64url(iv),
            "ciphertext": b64url(body[:-16]),
            "tag": b64url(body[-16:]),
        }
    )


@pytest.mark.parametrize("name", ["bob", "carol"])
def test_jwcrypto_opens_a_hybrid_message_as_a_general_jwe(name: str) -> None:
    token = jwe.JWE()
    token.deserialize(_general_jwe(_sealed(Suite.HYBRID, everyone=True)), jwk.JWK.from_pem(_pem(name, "ek")))
    assert token.payload == pad(encode_content(Text(TEXT)))
    assert json.loads(token.objects["protected"])["from"] == "alice"


def test_jwcrypto_opens_no_hybrid_message_for_others_or_altered() -> None:
    sealed = _sealed(Suite.HYBRID)
    with pytest.raises(jwe.InvalidJWEData):
        jwe.JWE().deserialize(_general_jwe(sealed), jwk.JWK.from_pem(_pem("carol", "ek")))
    altered = json.loads(_general_jwe(sealed))
    altered["protected"] = b64url(sealed.parts[0].replace(b"1800000000000", b"1800000000001"))
    with pytest.raises(jwe.InvalidJWEData):
        jwe.JWE().deserialize(json.dumps(altered), jwk.JWK.from_pem(_pem("bob", "ek")))


@pytest.mark.parametrize(("purpose", "payload", "signature"), _payloads())
def test_jwcrypto_verifies_every_signature_as_a_detached_unencoded_jws(
    purpose: Purpose, payload: bytes, signature: bytes
) -> None:
    key = jwk.JWK.from_pem(ALICE.signing.public.pem.encode())
    protected = signing_input(purpose, b"").removesuffix(b".").decode()
    token = jws.JWS()
    token.deserialize(json.dumps({"protected": protected, "signature": b64url(signature)}))
    token.verify(key, detached_payload=payload)
    assert token.is_valid
    assert json.loads(token.objects["protected"]) == {
        "alg": "PS256",
        "b64": False,
        "crit": ["b64"],
        "typ": f"sc1-{purpose.value}",
    }
    other = jws.JWS()
    other.deserialize(json.dumps({"protected": protected, "signature": b64url(signature)}))
    with pytest.raises(jws.InvalidJWSSignature):
        other.verify(key, detached_payload=payload + b"x")
