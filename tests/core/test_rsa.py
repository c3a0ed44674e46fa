"""core.rsa: the import policy, and one job for each key."""

from __future__ import annotations

import itertools

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import BadSignature, KeyRefused
from core.limits import OAEP_MAX, SPKI_BYTES
from core.rsa import OpeningKey, Purpose, SealKey, SigningKey, VerifyKey, kid_of, signing_input
from tests.keys import keys_of, private_key

ALICE, BOB = keys_of("alice"), keys_of("bob")
SPKI = ALICE.signing.public.spki


def _der(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _refused(spki: bytes) -> str:
    whys = set()
    for import_key in (VerifyKey, SealKey):
        with pytest.raises(KeyRefused) as refused:
            import_key(spki)
        whys.add(str(refused.value.fields["why"]))
    (why,) = whys
    return why


@pytest.mark.parametrize("bits", [1024, 2040, 3072, 4096])
def test_other_sizes_are_refused(bits: int) -> None:
    assert "RSA-2048" in _refused(_der(rsa.generate_private_key(65537, bits).public_key()))


def test_a_huge_key_is_refused_before_it_is_parsed() -> None:
    # Well-formed to the end, so that only its length can be what it is refused for.
    n = (1 << 16383) + 1
    spki = _der(rsa.RSAPublicNumbers(65537, n).public_key())
    assert len(spki) > 2048
    assert "RSA-2048" in _refused(spki)
    assert _refused(bytes(10**7)) == _refused(spki)


def test_exponent_3_is_refused() -> None:
    n = private_key("alice", "ik").public_key().public_numbers().n
    spki = _der(rsa.RSAPublicNumbers(3, n).public_key())
    assert len(spki) != SPKI_BYTES
    _refused(spki)


@pytest.mark.parametrize("exponent", [65539, 0x7FFFFF])
def test_exponents_of_the_same_length_are_refused(exponent: int) -> None:
    n = private_key("alice", "ik").public_key().public_numbers().n
    spki = _der(rsa.RSAPublicNumbers(exponent, n).public_key())
    assert len(spki) == SPKI_BYTES
    assert "exponent" in _refused(spki)


def test_an_even_modulus_is_refused_for_nothing_could_be_sealed_to_it() -> None:
    at = -6  # the modulus ends before the exponent's five bytes
    for bits in (0, 2):  # two even numbers next to each other: no other divisor can be what both are refused for
        assert "even" in _refused(SPKI[:at] + bytes([SPKI[at] & 0xFE ^ bits]) + SPKI[at + 1 :])


def test_keys_of_other_kinds_are_refused() -> None:
    _refused(_der(ec.generate_private_key(ec.SECP256R1()).public_key()))
    _refused(_der(ed25519.Ed25519PrivateKey.generate().public_key()))


def test_other_encodings_of_a_good_key_are_refused() -> None:
    _refused(SPKI[:-1])
    _refused(SPKI + b"\0")
    _refused(ALICE.signing.public.pem.encode())
    # An object identifier for RSASSA-PSS instead of rsaEncryption.
    pss = SPKI.replace(bytes.fromhex("2a864886f70d010101"), bytes.fromhex("2a864886f70d01010a"))
    assert pss != SPKI
    _refused(pss)


@given(at=st.integers(0, SPKI_BYTES - 1), bit=st.integers(0, 7))
def test_an_altered_key_is_refused_or_another_key(at: int, bit: int) -> None:
    altered = SPKI[:at] + bytes([SPKI[at] ^ (1 << bit)]) + SPKI[at + 1 :]
    try:
        key = SealKey(altered)
    except KeyRefused:
        return
    assert key.spki == altered
    assert key.kid == kid_of(altered) != ALICE.signing.public.kid
    assert len(key.seal(b"x" * OAEP_MAX)) == 256  # whatever passes the policy can be sealed to


@given(st.binary(max_size=600))
def test_noise_is_refused(noise: bytes) -> None:
    _refused(noise)
    _refused((noise * SPKI_BYTES)[:SPKI_BYTES].ljust(SPKI_BYTES, b"\0"))


@pytest.mark.parametrize(("made_for", "used_for"), list(itertools.product(Purpose, Purpose)))
def test_a_signature_for_one_purpose_fails_for_every_other(made_for: Purpose, used_for: Purpose) -> None:
    signature = ALICE.signing.sign(made_for, b"payload")
    assert len(signature) == 256
    if made_for is used_for:
        ALICE.signing.public.verify(used_for, b"payload", signature)
    else:
        with pytest.raises(BadSignature):
            ALICE.signing.public.verify(used_for, b"payload", signature)


def test_no_purpose_is_the_beginning_of_another() -> None:
    prefixes = [signing_input(purpose, b"") for purpose in Purpose]
    assert len(set(prefixes)) == len(Purpose)
    assert not any(one != other and one.startswith(other) for one in prefixes for other in prefixes)


@settings(max_examples=50)
@given(payload=st.binary(max_size=100), at=st.integers(0, 255), bit=st.integers(0, 7))
def test_an_altered_signature_or_payload_fails(payload: bytes, at: int, bit: int) -> None:
    signature = ALICE.signing.sign(Purpose.ENVELOPE, payload)
    altered = signature[:at] + bytes([signature[at] ^ (1 << bit)]) + signature[at + 1 :]
    for what, proof in ((payload, altered), (payload + b"\0", signature), (payload, signature[:-1]), (payload, b"")):
        with pytest.raises(BadSignature):
            ALICE.signing.public.verify(Purpose.ENVELOPE, what, proof)
    with pytest.raises(BadSignature):
        BOB.signing.public.verify(Purpose.ENVELOPE, payload, signature)


@settings(max_examples=50)
@given(data=st.binary(max_size=OAEP_MAX), label=st.binary(max_size=64), other=st.binary(max_size=64))
def test_what_is_sealed_opens_only_under_its_key_and_label(data: bytes, label: bytes, other: bytes) -> None:
    block = BOB.opening.public.seal(data, label)
    assert BOB.opening.open(block, label) == data
    if other != label:
        with pytest.raises(ValueError, match=r"[Dd]ecrypt"):
            BOB.opening.open(block, other)
    with pytest.raises(ValueError, match=r"[Dd]ecrypt"):
        ALICE.opening.open(block, label)


def test_block_sizes() -> None:
    with pytest.raises(ValueError, match="190"):
        BOB.opening.public.seal(bytes(OAEP_MAX + 1))
    for size in (0, 255, 257, 512):
        with pytest.raises(ValueError, match="256"):
            BOB.opening.open(bytes(size))
    with pytest.raises(ValueError, match=r"[Dd]ecrypt"):
        BOB.opening.open(b"\xff" * 256)  # not under the modulus


def test_new_keys_are_new_and_pass_the_policy() -> None:
    signing, opening = SigningKey.generate(), OpeningKey.generate()
    assert len({signing.public.kid, opening.public.kid, ALICE.signing.public.kid}) == 3
    assert VerifyKey(signing.public.spki).kid == kid_of(signing.public.spki)
    assert SealKey(opening.public.spki).pem.startswith("-----BEGIN PUBLIC KEY-----\n")


def test_a_key_made_elsewhere_is_taken_and_kept() -> None:
    key = private_key("bob", "ik")
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    old_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    for signing in (SigningKey.from_pem(pem), SigningKey.from_pem(old_pem), SigningKey.from_der(BOB.signing.to_der())):
        assert signing.public.spki == BOB.signing.public.spki
        BOB.signing.public.verify(Purpose.LOGIN, b"x", signing.sign(Purpose.LOGIN, b"x"))
    opening = OpeningKey.from_der(BOB.opening.to_der())
    assert opening.open(BOB.opening.public.seal(b"x")) == b"x"


def test_an_encrypted_private_key_is_refused_for_there_is_nobody_to_ask() -> None:
    encrypted = private_key("bob", "ik").private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    with pytest.raises(KeyRefused):
        SigningKey.from_pem(encrypted)


def test_keys_do_not_show_their_secrets() -> None:
    secret = private_key("bob", "ek").private_numbers().d
    for key in (BOB.opening, BOB.signing):
        assert str(secret) not in repr(key)
        assert f"{secret:x}" not in repr(key)
