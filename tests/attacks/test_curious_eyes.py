"""What somebody who looks on could see: sizes on the wire, log lines, files of another user, a keystore that was touched."""

from __future__ import annotations

import base64
import os
import pickle
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers import aead

from broker.files import load_or_make_keys
from clients.keystore import Keystore
from clients.profiles import OpenProfile
from core.bundle import Suite
from core.encoding import b64url, unpack
from core.errors import KeystoreDamaged, KeystoreLocked, KeystoreUnreadable, KeystoreUnsafe, SecureChatError, WrongPassphrase
from core.frames import Frames
from core.profile import Profile
from core.vault import lock, unlock
from tests.attacks.lies import SUITES, Town, profile_of
from tests.broker_process import BrokerProcess, Running, broker_command, cli_command
from tests.forge import flip
from tests.hostile import Boom
from tests.net import PATIENCE

PASSPHRASE = "correct horse battery staple"
TEXTS = ["the secret plan, in german: geheimer plan", "an answer that nobody else may read"]


# On the wire


@SUITES
def test_a_longer_message_is_a_longer_message(suite: Suite) -> None:
    """Texts of 1 to 200 bytes: every frame of theirs has the same size, up and down, and so do the answers."""
    town = Town()
    alice, bob = town.join("alice"), town.join("bob")
    sizes: set[tuple[object, ...]] = set()
    seen: list[tuple[str, tuple[int, ...], int]] = []

    def look(way: str) -> object:
        def tamper(raw: Frames) -> Sequence[Frames]:
            digits = 0
            if len(raw) > 1:  # the number of the message is no secret to the broker, and takes a digit more at 10 and at 100
                digits = len(str(msgspec.json.decode(unpack(raw[1], 7)[0])["to"][0][2]))
            seen.append((way, tuple(len(frame) for frame in raw), digits))
            return [raw]

        return tamper

    alice.to_broker, alice.to_client = look("up"), look("result")  # type: ignore[assignment]
    bob.to_broker, bob.to_client = look("ack"), look("down")  # type: ignore[assignment]
    town.say(alice, "x", "bob", suite=suite)  # the first asks for the bundle
    for length in range(1, 201):
        seen.clear()
        town.say(alice, "x" * length, "bob", suite=suite)
        sizes.add(tuple((way, sum(size) - digits) for way, size, digits in seen))
    assert len(sizes) == 1
    assert len(bob.messages) == 201


@SUITES
def test_a_longer_message_to_all_is_a_longer_message(suite: Suite) -> None:
    town = Town()
    alice, bob = town.join("alice"), town.join("bob")
    town.join("carol")
    down: list[Frames] = []
    bob.to_client = lambda raw: down.append(raw) or [raw]  # type: ignore[func-returns-value]
    for length in (1, 2, 50, 199, 200):
        town.say(alice, "x" * length, "bob", "carol", everyone=True, suite=suite)
    assert len({tuple(map(len, raw)) for raw in down if raw[0][:1] == b"D"}) == 1


# In the logs


def forms(secret: bytes) -> list[bytes]:
    """A secret as it could stand in a text."""
    return [
        secret,
        secret.hex().encode(),
        base64.b64encode(secret).rstrip(b"="),
        b64url(secret).encode(),
        repr(secret)[2:-1].encode(),
    ]


def secrets_of(profile: Profile) -> list[bytes]:
    whole = [profile.signing.to_der(), *(aged.key.to_der() for aged in profile.keys)]
    numbers = [profile.signing._key, *(aged.key._key for aged in profile.keys)]
    primes = [number.private_numbers().p.to_bytes(128, "big") for number in numbers]
    return [*(der[400:464] for der in whole), *primes, profile.curve_secret, profile.data_key]


def test_the_logs_tell_what_was_said(tmp_path: Path) -> None:
    """Broker and clients at every level they have, with profiles, an invite, a passphrase, refusals and a wrong passphrase."""
    file = tmp_path / "passphrase"
    file.write_text(PASSPHRASE + "\n")
    wrong = tmp_path / "wrong"
    wrong.write_text("a wrong " + PASSPHRASE + "\n")
    logs: list[str] = []
    with BrokerProcess(tmp_path, "--verbose") as broker:

        def run(*command: str | bytes, stdin: str = "") -> str:
            done = subprocess.run(
                command, env=broker.env, input=stdin, capture_output=True, text=True, timeout=PATIENCE, check=False
            )
            logs.append(done.stderr)
            return done.stdout

        invite = run(*broker_command("--data", str(broker.data), "invite", "--host", "127.0.0.1")).strip()
        (tmp_path / "invite").write_text(invite)
        locked = ("--verbose", "--no-input", "--passphrase-file", str(file))
        for name in ("alice", "bob"):
            invited = ("--invite-file", str(tmp_path / "invite")) if name == "alice" else ()
            logs.append(run(*cli_command(*locked, "init", name, *invited)))
        with Running(cli_command(*locked, "--profile", "bob", "listen"), broker.env) as listener:
            listener.err.has("here:")
            for text in TEXTS:
                logs.append(run(*cli_command(*locked, "--profile", "alice", "send", "bob", "-"), stdin=text))
                listener.out.has(text)
            logs.append(run(*cli_command(*locked, "--profile", "alice", "send", "--suite", "chunked", "nobody", TEXTS[0])))
            run(*cli_command("--verbose", "--no-input", "--passphrase-file", str(wrong), "--profile", "alice", "users"))
            run(*cli_command("--verbose", "--broker", invite, "--as", "alice", "users"))
            run(*cli_command("--verbose", "--broker", invite + "x", "--as", "carol", "users"))
            logs.append(run(*broker_command("--data", str(broker.data), "invites")))
            listener.end()
            logs.append(listener.err.text)
        broker.end()
        logs += [broker.out.text, broker.err.text]
    home = next(path.parent.parent.parent for path in tmp_path.rglob("keystore"))
    profiles = [Keystore(home, name).open(PASSPHRASE) for name in ("alice", "bob")]
    secrets = [text.encode() for text in (*TEXTS, PASSPHRASE)]
    secrets += [key for profile in profiles for key in secrets_of(profile)]
    secrets += [load_or_make_keys(broker.data).secret, invite.rpartition("/")[2].encode()]
    log = "\n".join(logs).encode()
    assert b"securechat://" in log  # it is the logs that were searched
    for secret in secrets:
        assert not [form for form in forms(secret) if form in log]


# On the disk


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user of this machine may enter, and in which new files would be open to all."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    before = os.umask(0)
    try:
        yield folder
    finally:
        os.umask(before)
        shutil.rmtree(folder)


def somebody_else_reads(path: Path) -> bool:
    """Whether another user can; only root can become one to try."""
    tried = subprocess.run(
        ["cat", path], user=65534, group=65534, extra_groups=[], capture_output=True, timeout=PATIENCE, check=False, cwd="/"
    )
    return tried.returncode == 0 and tried.stdout == path.read_bytes()


def test_another_user_reads_a_profiles_files(open_folder: Path) -> None:
    """Keystore, lock and database: closed by their modes, and by their folder's; and unreadable if one can try."""
    profile = OpenProfile.create(open_folder, "alice", None)
    try:
        profile.store.set_setting("broker", "securechat://127.0.0.1:1/" + "A" * 43)
        folder = open_folder / "profiles" / "alice"
        files = sorted(folder.iterdir())
        assert {"keystore", "lock", "profile.db"} <= {path.name for path in files}
        assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in files} == {path.name: 0o600 for path in files}
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        if os.getuid() == 0:  # only root can become somebody else
            control = open_folder / "control"
            control.write_text("for all to read")
            assert somebody_else_reads(control)
            assert not any(somebody_else_reads(path) for path in files)
    finally:
        profile.close()


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o602, 0o620, 0o601, 0o777])
def test_a_keystore_that_others_can_get_at_is_safe(tmp_path: Path, mode: int) -> None:
    keystore = Keystore(tmp_path, "alice")
    keystore.create(profile_of("alice"), None)
    path = keystore.folder / "keystore"
    before = path.read_bytes()
    for open_, closed in ((path, 0o600), (keystore.folder, 0o700)):
        open_.chmod(mode | (0o100 if open_ is keystore.folder else 0))
        with pytest.raises(KeystoreUnsafe):
            keystore.open(None)
        with pytest.raises(KeystoreUnsafe):
            keystore.update(None, lambda profile: profile.rotated(profile.keys[0].key, 9e9))
        open_.chmod(closed)
    assert path.read_bytes() == before
    assert keystore.open(None).user == "alice"


def test_a_link_in_the_keystores_place_is_the_keystore(tmp_path: Path) -> None:
    keystore = Keystore(tmp_path, "alice")
    keystore.create(profile_of("alice"), None)
    path = keystore.folder / "keystore"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeystoreUnreadable):
        keystore.open(None)


def test_any_byte_of_a_keystore_was_always_so() -> None:
    raw = lock(profile_of("alice").encode(), None, random=os.urandom)
    plain = unlock(raw, None)
    for at in range(len(raw)):
        with pytest.raises((KeystoreDamaged, KeystoreLocked)):
            unlock(flip(at)(raw), None)
    for length in range(0, len(raw), 7):
        with pytest.raises(KeystoreDamaged):
            unlock(raw[:length], None)
    with pytest.raises(KeystoreDamaged):
        unlock(raw + b"\0", None)
    assert unlock(raw, None) == plain


def test_any_part_of_a_keystore_with_a_passphrase_was_always_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every byte, with the passphrase; a cheaper scrypt, written and read, keeps it short: the check is the same."""
    monkeypatch.setattr("core.vault._SCRYPT", (2**4, 8, 1))
    raw = lock(profile_of("alice").encode(), PASSPHRASE, random=os.urandom)
    for at in range(len(raw)):
        with pytest.raises((KeystoreDamaged, WrongPassphrase)):
            unlock(flip(at)(raw), PASSPHRASE)
    for other in (None, ""):
        with pytest.raises(KeystoreLocked):
            unlock(raw, other)
    for other in (PASSPHRASE + " ", PASSPHRASE[:-1], PASSPHRASE.upper()):
        with pytest.raises(WrongPassphrase):
            unlock(raw, other)


def test_a_keystore_says_how_much_memory_to_take() -> None:
    """The cost of scrypt is not the file's to choose, in either direction; nor that there is no passphrase."""
    raw = lock(b"content", PASSPHRASE, random=os.urandom)
    for old, new in (
        (b'"n":131072', b'"n":1048576'), (b'"n":131072', b'"n":2'), (b'"r":8', b'"r":99'), (b'"p":1', b'"p":9'),
        (b'"kdf":"scrypt","n":131072,"r":8,"p":1', b'"kdf":"none","n":0,"r":0,"p":0'),
    ):  # fmt: skip
        magic, header, body = raw[:13], *unpack(raw[13:], 2)
        assert old in header
        changed = header.replace(old, new)
        lie = magic + len(changed).to_bytes(4, "big") + changed + len(body).to_bytes(4, "big") + body
        for passphrase in (PASSPHRASE, None):
            with pytest.raises(KeystoreDamaged):
                unlock(lie, passphrase)


def test_a_keystore_is_a_program(tmp_path: Path) -> None:
    keystore = Keystore(tmp_path, "alice")
    keystore.create(profile_of("alice"), None)
    path = keystore.folder / "keystore"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        for raw in (pickle.dumps(Boom(), protocol), lock(pickle.dumps(Boom(), protocol), None, random=os.urandom)):
            path.write_bytes(raw)
            with pytest.raises(KeystoreDamaged):
                keystore.open(None)
            assert path.read_bytes() == raw  # left as it is
    assert not Boom.ran


def test_a_keystore_without_a_passphrase_is_made_with_one() -> None:
    """Whoever can write the file can replace it: but by a keystore, not by parts of one, and never as a locked one."""
    raw = lock(b"content", None, random=os.urandom)
    header = unpack(raw[13:], 2)[0]
    salt_only = msgspec.json.decode(header)
    assert salt_only["kdf"] == "none"
    body = aead.AESGCM(bytes(32)).encrypt(bytes(12), b"content", b"sc1 keystore\n" + header)
    lie = raw[:13] + len(header).to_bytes(4, "big") + header + len(body).to_bytes(4, "big") + body
    with pytest.raises(KeystoreDamaged):
        unlock(lie, None)


def test_what_is_raised_tells_a_secret() -> None:
    """No error of the keystore carries what it was about, not even as its cause."""
    raw = lock(profile_of("alice").encode(), None, random=os.urandom)
    with pytest.raises(SecureChatError) as refused:
        unlock(flip(-1)(raw), PASSPHRASE)
    told = f"{refused.value!r} {refused.value.__cause__!r} {refused.value.fields!r}"
    assert PASSPHRASE not in told
