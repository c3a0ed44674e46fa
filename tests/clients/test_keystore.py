"""Keystores on disk: closed to others, replaced whole or not at all, by one process at a time."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from clients.keystore import Keystore
from core.errors import (
    BadName,
    KeystoreDamaged,
    KeystoreLocked,
    KeystoreUnreadable,
    KeystoreUnsafe,
    KeystoreUnwritable,
    ProfileExists,
    ProfileMissing,
    WrongPassphrase,
)
from core.profile import Profile
from tests.broker_process import ROOT, race
from tests.keys import keys_of
from tests.net import PATIENCE

NOW = 1_800_000_000


def fresh(name: str = "alice") -> Profile:
    keys = keys_of(name)
    return Profile.create(name, keys.signing, keys.opening, bytes(32), now=NOW, random=os.urandom)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def store(home: Path) -> Keystore:
    one = Keystore(home, "alice")
    one.create(fresh(), None)
    return one


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def path_of(store: Keystore) -> Path:
    return store.folder / "keystore"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def older(profile: Profile) -> Profile:
    """The profile after one more change."""
    return replace(profile, seq=profile.seq + 1)


# Life


def test_it_is_made_opened_and_changed(home: Path) -> None:
    store = Keystore(home, "alice")
    assert not store.exists
    assert Keystore.names(home) == []
    made = fresh()
    store.create(made, "secret")
    assert store.exists
    assert Keystore.names(home) == ["alice"]
    assert store.needs_passphrase
    assert store.open("secret").encode() == made.encode()
    changed = store.update("secret", older)
    assert changed.seq == 2
    assert store.open("secret").encode() == changed.encode()
    assert store.needs_passphrase


@pytest.mark.usefixtures("open_umask")
def test_it_is_closed_to_others_whatever_the_umask(home: Path) -> None:
    store = Keystore(home, "alice")
    store.create(fresh(), None)
    store.update(None, older)
    assert mode(store.folder) == 0o700
    assert {path.name: mode(path) for path in store.folder.iterdir()} == {"keystore": 0o600, "lock": 0o600}


def test_there_is_one_of_a_name(store: Keystore) -> None:
    before = path_of(store).read_bytes()
    with pytest.raises(ProfileExists):
        store.create(fresh(), None)
    assert path_of(store).read_bytes() == before


@pytest.mark.parametrize("name", ["", "..", "../bob", "Alice", "a/b", "everyone", ".hidden"])
def test_a_name_is_a_username_and_no_path(home: Path, name: str) -> None:
    with pytest.raises(BadName):
        Keystore(home, name)


def test_one_that_is_missing(home: Path) -> None:
    store = Keystore(home, "alice")
    for _ in range(2):
        with pytest.raises(ProfileMissing):
            store.open(None)
        with pytest.raises(ProfileMissing):
            store.update(None, older)
        store.folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # an empty folder is no profile
    assert Keystore.names(home) == []


def test_it_is_taken_back_with_all_that_is_beside_it(store: Keystore, home: Path) -> None:
    (store.folder / "profile.db").touch()
    store.remove()
    assert not store.folder.exists()
    assert Keystore.names(home) == []


# Passphrases


def test_without_the_passphrase_nothing_is_read_or_written(home: Path) -> None:
    store = Keystore(home, "alice")
    store.create(fresh(), "secret")
    before = path_of(store).read_bytes()
    for passphrase, error in ((None, KeystoreLocked), ("", KeystoreLocked), ("Secret", WrongPassphrase)):
        with pytest.raises(error):
            store.open(passphrase)
        with pytest.raises(error):
            store.update(passphrase, older)
    assert path_of(store).read_bytes() == before


def test_no_secret_lies_open_in_a_locked_one(home: Path) -> None:
    profile = fresh()
    Keystore(home, "alice").create(profile, "secret")
    raw = b"".join(path.read_bytes() for path in (home / "profiles" / "alice").iterdir())
    for secret in (profile.data_key, profile.signing.to_der()[200:260], profile.keys[0].key.to_der()[200:260]):
        assert secret not in raw


# Those that are not to be trusted


@pytest.mark.parametrize("loose", [0o640, 0o604, 0o620, 0o601, 0o644, 0o777])
def test_a_loose_mode_is_refused_and_says_how_to_mend_it(store: Keystore, loose: int) -> None:
    path_of(store).chmod(loose)
    for act in (lambda: store.open(None), lambda: store.update(None, older), lambda: store.needs_passphrase):
        with pytest.raises(KeystoreUnsafe) as refused:
            act()
        assert refused.value.advice == f"Mend it with: chmod 600 {path_of(store)}"
    assert mode(path_of(store)) == loose


@pytest.mark.parametrize("loose", [0o750, 0o701, 0o777])
def test_a_loose_folder_is_refused(store: Keystore, loose: int) -> None:
    store.folder.chmod(loose)
    with pytest.raises(KeystoreUnsafe) as refused:
        store.open(None)
    assert refused.value.advice == f"Mend it with: chmod 700 {store.folder}"


def test_nothing_is_written_into_a_loose_folder(home: Path) -> None:
    store = Keystore(home, "alice")
    store.folder.mkdir(parents=True)
    store.folder.chmod(0o755)
    with pytest.raises(KeystoreUnsafe):
        store.create(fresh(), None)
    assert list(store.folder.iterdir()) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_another_owner_is_refused(store: Keystore) -> None:
    os.chown(path_of(store), 65_534, 65_534)
    with pytest.raises(KeystoreUnsafe, match="another user"):
        store.open(None)


def test_a_link_is_not_followed(store: Keystore, tmp_path: Path) -> None:
    path_of(store).rename(tmp_path / "elsewhere")
    path_of(store).symlink_to(tmp_path / "elsewhere")
    before = (tmp_path / "elsewhere").read_bytes()
    with pytest.raises(KeystoreUnreadable):
        store.open(None)
    with pytest.raises(KeystoreUnreadable):
        store.update(None, older)
    assert (tmp_path / "elsewhere").read_bytes() == before


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_is_not_read(store: Keystore, kind: str) -> None:
    path_of(store).unlink()
    path_of(store).mkdir(0o700) if kind == "folder" else os.mkfifo(path_of(store), 0o600)
    with pytest.raises(KeystoreUnreadable, match="not a regular file"):
        store.open(None)


def test_a_torn_one_is_left_as_it_is(store: Keystore) -> None:
    raw = path_of(store).read_bytes()
    for size in (0, 1, 13, 14, 100, len(raw) - 1):
        path_of(store).write_bytes(raw[:size])
        with pytest.raises(KeystoreDamaged):
            store.open(None)
        with pytest.raises(KeystoreDamaged):
            store.update(None, older)
        assert path_of(store).read_bytes() == raw[:size]
    path_of(store).write_bytes(raw)
    assert store.open(None).user == "alice"


# Writing

LIMITED = """
import resource, signal, sys
from dataclasses import replace
from pathlib import Path
from clients.keystore import Keystore
from core.errors import KeystoreUnwritable
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    Keystore(Path(sys.argv[1]), "alice").update(None, lambda profile: replace(profile, seq=99))
except KeystoreUnwritable as error:
    print(error)
"""


def test_a_write_that_fails_leaves_what_was_there(store: Keystore, home: Path) -> None:
    before = path_of(store).read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(home)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert "cannot be written" in done.stdout
    assert path_of(store).read_bytes() == before
    assert {path.name for path in store.folder.iterdir()} == {"keystore", "lock"}
    assert store.update(None, older).seq == 2


KILLED = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
from clients.keystore import Keystore

def change(profile):
    return replace(profile, seq=99)

def dying(size):
    os.kill(os.getpid(), signal.SIGKILL)

Keystore(Path(sys.argv[1]), "alice").update(None, change, random=dying)
"""


def test_a_process_that_dies_while_it_writes_leaves_what_was_there(store: Keystore, home: Path) -> None:
    before = path_of(store).read_bytes()
    done = subprocess.run([sys.executable, "-c", KILLED, str(home)], cwd=ROOT, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert path_of(store).read_bytes() == before
    assert store.update(None, older).seq == 2  # and its lock is gone with it


def test_what_a_killed_process_left_half_written_is_in_nobodys_way(store: Keystore) -> None:
    draft = store.folder / f".keystore.{os.getpid()}"
    draft.touch(0o600)
    draft.write_bytes(b"half of")
    assert store.update(None, older).seq == 2
    assert store.open(None).seq == 2


def test_a_change_that_fails_changes_nothing(store: Keystore) -> None:
    before = path_of(store).read_bytes()

    def fail(profile: Profile) -> Profile:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.update(None, fail)
    assert path_of(store).read_bytes() == before
    assert store.update(None, older).seq == 2


def test_a_change_of_nothing_writes_nothing(store: Keystore) -> None:
    before = path_of(store).stat()
    assert store.update(None, lambda profile: profile).seq == 1
    assert path_of(store).stat().st_ino == before.st_ino


def test_a_home_that_cannot_be_had_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KeystoreUnwritable, match="cannot be written"):
        Keystore(tmp_path / "file", "alice").create(fresh(), None)


COUNTING = """
import sys
from dataclasses import replace
from pathlib import Path
from clients.keystore import Keystore
store = Keystore(Path(sys.argv[1]), "alice")
print("ready", flush=True)
input()
for _ in range(25):
    store.update(None, lambda profile: replace(profile, seq=profile.seq + 1))
"""


def test_changes_by_several_processes_all_count(store: Keystore, home: Path) -> None:
    race(COUNTING, str(home))
    assert store.open(None).seq == 51


def test_changes_by_several_threads_all_count(store: Keystore, home: Path) -> None:
    def count() -> None:
        own = Keystore(home, "alice")
        for _ in range(10):
            own.update(None, older)

    threads = [threading.Thread(target=count) for _ in range(3)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(PATIENCE)
    assert store.open(None).seq == 31


def test_of_two_that_make_it_at_once_one_does(home: Path) -> None:
    made: list[str] = []

    def make() -> None:
        try:
            Keystore(home, "alice").create(fresh(), None)
        except ProfileExists:
            made.append("refused")
        else:
            made.append("made")

    threads = [threading.Thread(target=make) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(PATIENCE)
    assert sorted(made) == ["made", "refused", "refused", "refused"]
