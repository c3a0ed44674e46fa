"""Keys outside the import policy, wherever a key can be presented."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa

from core import frames
from core.bundle import Kind, Suite, read_bundle
from core.encoding import b64url
from core.errors import BadBundle, FrameError, KeyRefused
from core.messages import Hello, Mode
from core.rsa import OpeningKey, SealKey, SigningKey, VerifyKey
from tests.attacks.lies import Reader, bundle, draft, fields, resigned
from tests.keys import keys_of, private_key

BOB = keys_of("bob")
HONEST = bundle("bob", BOB)


def _spki(key: rsa.RSAPublicKey | dsa.DSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _modulus(bits: int) -> int:
    """An odd number of so many bits, as a modulus that nobody has factored either."""
    return int.from_bytes(hashlib.shake_256(b"modulus").digest(bits // 8), "big") | 1 << (bits - 1) | 1


N = private_key("bob", "ek").public_key().public_numbers().n
WEAK = {
    "16,384 bits": _spki(rsa.RSAPublicNumbers(65537, _modulus(16_384)).public_key()),
    "4,096 bits": _spki(rsa.RSAPublicNumbers(65537, _modulus(4_096)).public_key()),
    "2,049 bits": _spki(rsa.RSAPublicNumbers(65537, _modulus(2_056) >> 7 | 1).public_key()),
    "1,024 bits": _spki(rsa.RSAPublicNumbers(65537, _modulus(1_024)).public_key()),
    "2,047 bits": _spki(rsa.RSAPublicNumbers(65537, _modulus(2_048) >> 1 | 1).public_key()),
    "an exponent of 3": _spki(rsa.RSAPublicNumbers(3, N).public_key()),
    "an exponent of 3 bytes": _spki(rsa.RSAPublicNumbers(65539, N).public_key()),
    "an even modulus": BOB.opening.public.spki[:-6]
    + bytes([BOB.opening.public.spki[-6] & 0xFE])
    + BOB.opening.public.spki[-5:],
    "the same key, for PSS": BOB.opening.public.spki.replace(
        bytes.fromhex("2a864886f70d0101010500"), bytes.fromhex("2a864886f70d01010a3000")
    ),
    "DSA, made as long": _spki(
        dsa.DSAPublicNumbers(1 << 894, dsa.DSAParameterNumbers(_modulus(1_024), _modulus(160), 2)).public_key()
    ),
    "an elliptic curve": _spki(ec.generate_private_key(ec.SECP256R1()).public_key()),
    "another curve, made as long": _spki(ed25519.Ed25519PrivateKey.generate().public_key()).ljust(294, b"\0"),
    "bytes behind it": BOB.opening.public.spki[:-1],
    "nothing": b"",
    "zeros": bytes(294),
}


@pytest.mark.parametrize("lie", WEAK)
def test_a_key_is_as_good_as_any(lie: str) -> None:
    spki = WEAK[lie]
    for kind in (VerifyKey, SealKey):
        with pytest.raises(KeyRefused):
            kind(spki)
    for job in ("ek", "ik"):
        with pytest.raises(BadBundle):
            read_bundle(resigned(HONEST, BOB, **{job: b64url(spki)}), "bob")


@pytest.mark.parametrize("lie", [lie for lie, spki in WEAK.items() if len(spki) != 294])
def test_a_key_of_any_length_may_be_presented(lie: str) -> None:
    """Whoever logs in with a key of another length is cut off before anything computes with it."""
    spki = WEAK[lie]
    hello = Hello((1,), Mode.FULL, "bob", Kind.GUEST, spki, HONEST, None, bytes(32))
    with pytest.raises(FrameError):
        frames.read_from_client(frames.control(hello))


@pytest.mark.parametrize("lie", WEAK)
def test_a_message_is_signed_with_any_key(lie: str) -> None:
    spki = WEAK[lie]
    forged = draft(Suite.HYBRID, header=fields(ik=b64url(hashlib.sha256(spki).digest()))).make()
    stage, operations = Reader().refuses(forged.tampered("spki", lambda _: spki).delivery())
    assert (stage, operations) == ("sender" if len(spki) == 294 else "parse", 0)


@pytest.mark.parametrize(("bits", "exponent"), [(1024, 65537), (3072, 65537), (2048, 3)])
def test_a_private_key_of_any_kind_becomes_an_identity(bits: int, exponent: int) -> None:
    key = rsa.generate_private_key(exponent, bits)
    der = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    for imported in (lambda: SigningKey.from_pem(pem), lambda: SigningKey.from_der(der), lambda: OpeningKey.from_der(der)):
        with pytest.raises(KeyRefused) as refused:
            imported()
        assert refused.value.__cause__ is None


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()])
def test_a_private_key_that_is_not_rsa_becomes_an_identity(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> None:
    der = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    for imported in (SigningKey.from_der, OpeningKey.from_der):
        with pytest.raises(KeyRefused):
            imported(der)
