"""A profile in one file: its keystore, and its database as it was at one moment.

The file is ``_MAGIC``, then behind their lengths the keystore (``core.vault``, under the profile's passphrase if it has one)
and a record under the profile's data key, which holds the size of the database and a fresh key; then the database, sealed with
that key in chunks (``core.sealed_file``). So only who can open the keystore can read any of it, and what was altered, cut off
or put together from two backups does not open.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from clients.database import is_made_by
from clients.folders import sync_folder
from clients.keystore import Keystore
from clients.new_file import new_file
from clients.profiles import DATABASE, OpenProfile
from clients.store import SCHEMA, Store
from core.encoding import pack, unpack
from core.errors import KeystoreDamaged, KeystoreUnwritable, ProfileExists, RecordDamaged, SecureChatError, StoreFailed
from core.limits import FILE_CHUNK, FILE_KEY_BYTES
from core.outbox import Outgoing
from core.profile import Profile
from core.rsa import OpeningKey
from core.sealed_file import SEALED_CHUNK, chunk_count, open_chunk, seal_chunk, sealed_size
from core.vault import Records, is_locked, unlock

DRAFT: Final = ".restore-"
_MAGIC: Final = b"securechat backup 1\n"
_NAME: Final = b"backup"
_LENGTH: Final = 4
_HEAD_MAX: Final = 2 * 1024 * 1024  # a keystore has at most 1 MiB


class NotABackup(SecureChatError):
    """{path} is no backup of a profile: {why}. Nothing was restored."""


class BackupDamaged(SecureChatError):
    """The backup {path} is damaged or not all there. Nothing was restored."""

    hint = "Copy it again from where it was made, or take an older one."


class _ForeignDatabase(Exception):
    """What was sealed as a database is another one, or a damaged one."""


class _Sealed(msgspec.Struct, frozen=True, array_like=True):
    key: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Restored:
    """A profile that was put back; ``given_up`` is what waited to be sent when the backup was made.

    ``kid`` is its identity key's, and ``protected`` whether there is a passphrase.
    """

    user: str
    kid: bytes
    protected: bool
    given_up: tuple[Outgoing, ...]


def back_up(profile: OpenProfile, path: Path) -> None:
    """Write a backup to the new file ``path``, while other programs may use the profile.

    Raises AlreadyThere, NotWritten, StoreFailed and what reading the keystore raises; then there is no file.
    """
    keystore, database = profile.keystore, memoryview(profile.store.snapshot())
    sealed = _Sealed(os.urandom(FILE_KEY_BYTES), len(database))
    record = Records(profile.keys.data_key, random=os.urandom).lock(msgspec.msgpack.encode(sealed), _NAME)
    count = chunk_count(len(database))
    with new_file(path) as file:
        file.write(_MAGIC + pack((pack((keystore, record)),)))
        for index in range(count):
            chunk = bytes(database[index * FILE_CHUNK :][:FILE_CHUNK])
            file.write(seal_chunk(sealed.key, index, chunk, last=index == count - 1, random=os.urandom))


def restore(path: Path, home: Path, ask: Callable[[], str | None]) -> Restored:
    """Put a profile back into ``home``, where there is none of its name; ``ask`` is called if a passphrase is needed.

    Raises NotABackup, BackupDamaged, ProfileExists, KeystoreLocked, WrongPassphrase and KeystoreUnwritable; then nothing
    has changed.
    """
    with _opened(path) as file:
        keystore, record = _head(file, path)
        try:
            passphrase = ask() if is_locked(keystore) else None
            profile = Profile.decode(unlock(keystore, passphrase), foreign=True)
            sealed = msgspec.msgpack.decode(Records(profile.data_key, random=os.urandom).unlock(record, _NAME), type=_Sealed)
        except (KeystoreDamaged, RecordDamaged, msgspec.MsgspecError):
            raise BackupDamaged(path=path) from None
        if os.fstat(file.fileno()).st_size - file.tell() != sealed_size(sealed.size):
            raise BackupDamaged(path=path)
        target = Keystore(home, profile.user)
        if os.path.lexists(target.folder):
            raise ProfileExists(name=profile.user)
        try:
            with _draft(home) as draft:
                given_up = _fill(Keystore(draft, profile.user), profile, passphrase, _database(file, sealed, path))
                target.folder.parent.mkdir(parents=True, exist_ok=True)
                Keystore(draft, profile.user).folder.rename(target.folder)
                sync_folder(target.folder.parent)
        except RecordDamaged:
            raise BackupDamaged(path=path) from None
        except _ForeignDatabase:
            raise NotABackup(path=path, why="its database is not one that SecureChat makes") from None
        except StoreFailed as error:  # it names the draft, which nobody knows and which is gone
            raise KeystoreUnwritable(path=target.folder, why=error.fields["why"]) from error
        except OSError as error:
            raise KeystoreUnwritable(path=target.folder, why=error.strerror or str(error)) from error
    return Restored(profile.user, profile.kid, is_locked(keystore), tuple(given_up))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would keep us waiting for its writer
            raise NotABackup(path=path, why="it is not a regular file")
        file = path.open("rb")
    except OSError as error:
        raise NotABackup(path=path, why=error.strerror) from error
    with file:
        yield file


def _head(file: BinaryIO, path: Path) -> tuple[bytes, bytes]:
    try:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise NotABackup(path=path, why="it begins otherwise")
        length = int.from_bytes(file.read(_LENGTH), "big")
        keystore, record = unpack(file.read(min(length, _HEAD_MAX)), 2)
    except ValueError:
        raise BackupDamaged(path=path) from None
    except OSError as error:
        raise NotABackup(path=path, why=error.strerror) from error
    return keystore, record


def _database(file: BinaryIO, sealed: _Sealed, path: Path) -> Iterator[bytes]:
    count = chunk_count(sealed.size)
    for index in range(count):
        try:
            yield open_chunk(sealed.key, index, file.read(SEALED_CHUNK), last=index == count - 1)
        except ValueError:
            raise BackupDamaged(path=path) from None
        except OSError as error:
            raise NotABackup(path=path, why=error.strerror) from error


@contextlib.contextmanager
def _draft(home: Path) -> Iterator[Path]:
    """A folder like a home, on the same disk, which is gone in the end with what is in it."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=DRAFT, dir=home))
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _fill(keystore: Keystore, profile: Profile, passphrase: str | None, database: Iterator[bytes]) -> list[Outgoing]:
    """Make the profile, as it goes on from a backup; returns what was given up."""
    keystore.create(profile.restored(OpeningKey.generate(), time.time(), random=os.urandom), passphrase)
    place = keystore.folder / DATABASE
    handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        for chunk in database:
            file.write(chunk)
        file.flush()
        os.fsync(handle)
    if not is_made_by(place, SCHEMA):
        raise _ForeignDatabase
    with contextlib.closing(Store(place, profile.data_key)) as store:
        return store.begin_anew(int(time.time() * 1000))
