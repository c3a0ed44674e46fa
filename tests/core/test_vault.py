"""core.vault: every byte of a keystore counts, and nothing in it is obeyed before it is authenticated."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from core.encoding import b64url, from_b64url, pack, unpack
from core.errors import KeystoreDamaged, KeystoreLocked, RecordDamaged, WrongPassphrase
from core.vault import Records, is_locked, lock, unlock
from tests.forge import counted_random

MAGIC = b"sc1 keystore\n"
PLAIN = b"the keys of a profile"
PASSPHRASE = "correct horse \N{SNOWMAN}"


@pytest.fixture(scope="module")
def locked() -> bytes:
    return lock(PLAIN, PASSPHRASE, random=os.urandom)


def parts(raw: bytes) -> tuple[dict[str, Any], bytes]:
    header, body = unpack(raw.removeprefix(MAGIC), 2)
    return msgspec.json.decode(header), body


def built(header: dict[str, Any], body: bytes) -> bytes:
    return MAGIC + pack((msgspec.json.encode(header), body))


def test_with_a_passphrase(locked: bytes) -> None:
    assert is_locked(locked)
    assert unlock(locked, PASSPHRASE) == PLAIN
    assert PLAIN not in locked


@pytest.mark.parametrize("none", [None, ""])
def test_without_a_passphrase(none: str | None) -> None:
    raw = lock(PLAIN, none, random=os.urandom)
    assert not is_locked(raw)
    assert unlock(raw, None) == unlock(raw, "") == unlock(raw, "given all the same") == PLAIN
    assert PLAIN not in raw


@pytest.mark.parametrize("wrong", ["correct horse", PASSPHRASE + " ", PASSPHRASE.upper(), "\0"])
def test_a_wrong_passphrase(locked: bytes, wrong: str) -> None:
    with pytest.raises(WrongPassphrase):
        unlock(locked, wrong)


@pytest.mark.parametrize("none", [None, ""])
def test_a_passphrase_that_is_missing_is_asked_for(locked: bytes, none: str | None) -> None:
    with pytest.raises(KeystoreLocked):
        unlock(locked, none)


def test_two_keystores_share_no_salt_and_no_iv() -> None:
    (one, _), (other, _) = (parts(lock(PLAIN, None, random=os.urandom)) for _ in range(2))
    assert one["salt"] != other["salt"]
    assert one["iv"] != other["iv"]


def test_the_form_is_the_documented_one(locked: bytes) -> None:
    """scrypt (N = 2^17, r = 8, p = 1), AES-256-GCM, the magic line and the header as associated data."""
    header, body = parts(locked)
    assert list(header) == ["kdf", "n", "r", "p", "salt", "iv"]
    assert (header["kdf"], header["n"], header["r"], header["p"]) == ("scrypt", 131_072, 8, 1)
    key = Scrypt(salt=from_b64url(header["salt"], 16), length=32, n=131_072, r=8, p=1).derive(PASSPHRASE.encode())
    aad = MAGIC + msgspec.json.encode(header)
    assert AESGCM(key).decrypt(from_b64url(header["iv"], 12), body, aad) == PLAIN


def test_the_form_without_a_passphrase_is_the_documented_one() -> None:
    """The same with n = r = p = 0, and as the key SHA-256 of a fixed text and the salt."""
    raw = lock(PLAIN, None, random=os.urandom)
    header, body = parts(raw)
    assert (header["kdf"], header["n"], header["r"], header["p"]) == ("none", 0, 0, 0)
    key = hashlib.sha256(b"sc1 keystore without a passphrase\0" + from_b64url(header["salt"], 16)).digest()
    aad = MAGIC + msgspec.json.encode(header)
    assert AESGCM(key).decrypt(from_b64url(header["iv"], 12), body, aad) == PLAIN


@pytest.mark.parametrize("bit", [0x01, 0x20, 0x80])
def test_no_byte_can_be_altered_without_a_passphrase(bit: int) -> None:
    raw = lock(PLAIN, None, random=counted_random("vault"))
    for at in range(len(raw)):
        with pytest.raises(KeystoreDamaged):
            unlock(raw[:at] + bytes([raw[at] ^ bit]) + raw[at + 1 :], None)


def test_no_byte_can_be_altered_with_a_passphrase(locked: bytes) -> None:
    """All of the header, and of the salt, the iv and the body the first and last: each of those costs a key derivation."""
    header = len(MAGIC) + 4 + len(msgspec.json.encode(parts(locked)[0]))
    dear = {
        *(locked.index(parts(locked)[0][name].encode()) + at for name in ("salt", "iv") for at in (0, 5)),
        *(header + 4, len(locked) - 1),
    }
    skipped = set(range(header + 5, len(locked) - 1))
    for name in ("salt", "iv"):
        start = locked.index(parts(locked)[0][name].encode())
        skipped |= set(range(start, start + len(parts(locked)[0][name]))) - dear
    for at in sorted(set(range(len(locked))) - skipped):
        altered = locked[:at] + bytes([locked[at] ^ 1]) + locked[at + 1 :]
        # What is altered in the salt or the iv may no longer be base64url, and then is seen as damage.
        with pytest.raises((WrongPassphrase, KeystoreDamaged) if at in dear else KeystoreDamaged):
            unlock(altered, PASSPHRASE)


def test_no_length_of_it_is_whole(locked: bytes) -> None:
    raw = lock(PLAIN, None, random=os.urandom)
    for size in range(len(raw)):
        with pytest.raises(KeystoreDamaged):
            unlock(raw[:size], None)
    for longer in (raw + b"\0", locked + b"\0", raw + raw):
        with pytest.raises(KeystoreDamaged):
            is_locked(longer)


@pytest.mark.parametrize(
    "changes",
    [
        {"n": 2**24, "r": 64},  # 128 GiB
        {"n": 2**14},
        {"n": 2**18},
        {"n": 2},
        {"n": 0, "r": 0, "p": 0},
        {"r": 9},
        {"p": 2**20},
        {"n": -1},
        {"n": 131_072.5},
        {"n": "131072"},
        {"kdf": "none"},
        {"kdf": "pbkdf2"},
        {"kdf": "none", "n": 0, "r": 0, "p": 1},
        {"salt": b64url(bytes(15))},
        {"iv": b64url(bytes(13))},
        {"salt": "="},
        {"more": 1},
    ],
    ids=str,
)
def test_the_files_parameters_are_not_obeyed(locked: bytes, changes: dict[str, Any]) -> None:
    header, body = parts(locked)
    with pytest.raises(KeystoreDamaged):  # not WrongPassphrase: no key was derived
        unlock(built({**header, **changes}, body), PASSPHRASE)


def test_a_locked_keystore_cannot_be_made_into_an_open_one(locked: bytes) -> None:
    header, body = parts(locked)
    open_one = built({**header, "kdf": "none", "n": 0, "r": 0, "p": 0}, body)
    assert not is_locked(open_one)
    for passphrase in (None, PASSPHRASE):
        with pytest.raises(KeystoreDamaged):
            unlock(open_one, passphrase)


def test_a_header_is_canonical(locked: bytes) -> None:
    header, body = unpack(locked.removeprefix(MAGIC), 2)
    for other in (b" " + header, header.replace(b'"r":8', b'"r":8.0'), header.replace(b'"kdf"', b'"\\u006bdf"')):
        with pytest.raises(KeystoreDamaged):
            unlock(MAGIC + pack((other, body)), PASSPHRASE)


def test_what_is_too_large_is_not_read() -> None:
    with pytest.raises(KeystoreDamaged):
        is_locked(MAGIC + bytes(1024 * 1024))
    around = len(lock(b"", None, random=os.urandom))
    largest = lock(bytes(1024 * 1024 - around), None, random=os.urandom)
    assert len(largest) == 1024 * 1024
    assert unlock(largest, None) == bytes(1024 * 1024 - around)
    with pytest.raises(KeystoreDamaged):
        unlock(lock(bytes(1024 * 1024 - around + 1), None, random=os.urandom), None)


# Records on a profile's disk


def test_a_record_is_aes_256_gcm_under_the_data_key_and_bound_to_its_name() -> None:
    key, name = bytes(range(32)), b"message 7"
    raw = Records(key, random=counted_random("record")).lock(PLAIN, name)
    iv, body = raw[:12], raw[12:]
    assert iv == counted_random("record")(12)
    assert AESGCM(key).decrypt(iv, body, name) == PLAIN
    assert Records(key, random=os.urandom).unlock(raw, name) == PLAIN


def test_the_same_record_is_never_written_the_same_way_twice() -> None:
    records = Records(bytes(32), random=os.urandom)
    assert records.lock(PLAIN, b"a")[:12] != records.lock(PLAIN, b"a")[:12]


def test_no_record_can_be_altered_renamed_or_cut() -> None:
    records = Records(bytes(32), random=os.urandom)
    raw = records.lock(PLAIN, b"message 7")
    for at in range(len(raw)):
        with pytest.raises(RecordDamaged):
            records.unlock(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :], b"message 7")
        with pytest.raises(RecordDamaged) as damaged:
            records.unlock(raw[:at], b"message 7")
        assert damaged.value.__cause__ is None
    for other, name in ((records, b"message 8"), (records, b""), (Records(bytes(31) + b"x", random=os.urandom), b"message 7")):
        with pytest.raises(RecordDamaged):
            other.unlock(raw, name)
