"""Keystores on disk: one folder for each profile, closed to others, replaced whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from shlex import quote
from typing import Final

import platformdirs

from clients.folders import sync_folder
from core.errors import KeystoreUnreadable, KeystoreUnsafe, KeystoreUnwritable, ProfileExists, ProfileMissing
from core.names import check_name, is_name
from core.places import APP
from core.profile import Profile
from core.vault import is_locked, lock, unlock

_VARIABLE: Final = "SECURECHAT_HOME"
_KEYSTORE: Final = "keystore"
_LOCK: Final = "lock"
_SIZE_MAX: Final = 1024 * 1024


def choose_home(named: Path | None, environ: Mapping[str, str]) -> Path:
    """Where profiles are kept: ``named``, else SECURECHAT_HOME, else the platform's folder for data."""
    given = named or environ.get(_VARIABLE)
    return Path(given) if given else Path(platformdirs.user_data_dir(APP))


class Keystore:
    """One profile's folder: ``HOME/profiles/NAME``, mode 0700, with its keystore, mode 0600."""

    def __init__(self, home: Path, name: str) -> None:
        """Name a keystore; nothing is opened. Raises BadName."""
        self.name: Final = check_name(name)
        self.folder: Final = home / "profiles" / name
        self._path = self.folder / _KEYSTORE

    @classmethod
    def names(cls, home: Path) -> list[str]:
        """The profiles in a home; a folder whose name is none holds none, and could be anything to a shell or a terminal."""
        with contextlib.suppress(FileNotFoundError):
            folders = [path.parent.name for path in (home / "profiles").glob(f"*/{_KEYSTORE}")]
            return sorted(name for name in folders if is_name(name))
        return []

    @property
    def exists(self) -> bool:
        """Whether there is such a profile."""
        return self._path.exists()

    def create(self, profile: Profile, passphrase: str | None, *, random: Callable[[int], bytes] = os.urandom) -> None:
        """Write a new profile. Raises ProfileExists, KeystoreUnsafe or KeystoreUnwritable, and then nothing was touched."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise KeystoreUnwritable(path=self.folder, why=error.strerror) from error
        _check_closed(self.folder, self.folder.stat(), "700")
        with self._held():
            if self.exists:
                raise ProfileExists(name=self.name)
            self._write(lock(profile.encode(), passphrase, random=random))

    def remove(self) -> None:
        """Take a profile back that was made a moment ago and turned out to be of no use."""
        for path in self.folder.iterdir():
            path.unlink()
        self.folder.rmdir()

    @property
    def needs_passphrase(self) -> bool:
        """Whether opening it takes a passphrase; raises what ``open`` raises."""
        return is_locked(self._read())

    @property
    def content(self) -> bytes:
        """The keystore as it is on disk, encrypted if it has a passphrase; raises what ``open`` raises of reading it."""
        return self._read()

    def open(self, passphrase: str | None) -> Profile:
        """Read the profile. Raises ProfileMissing, KeystoreUnsafe, KeystoreUnreadable, KeystoreLocked, WrongPassphrase or
        KeystoreDamaged; a keystore that cannot be read is never written to.
        """  # noqa: D205 - one sentence
        return Profile.decode(unlock(self._read(), passphrase))

    def update(
        self, passphrase: str | None, change: Callable[[Profile], Profile], *, random: Callable[[int], bytes] = os.urandom
    ) -> Profile:
        """Change the profile while no other process can; returns it as it is then.

        Raises what ``open`` raises, and KeystoreUnwritable.
        """
        with self._held():
            before = self.open(passphrase)
            after = change(before)
            if after != before:
                self._write(lock(after.encode(), passphrase, random=random))
            return after

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        path = self.folder / _LOCK
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except FileNotFoundError:
            raise ProfileMissing(name=self.name) from None
        except OSError as error:
            raise KeystoreUnwritable(path=path, why=error.strerror) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _read(self) -> bytes:
        try:
            handle = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            raise ProfileMissing(name=self.name) from None
        except OSError as error:
            raise KeystoreUnreadable(path=self._path, why=error.strerror) from error
        try:
            info = os.fstat(handle)
            if not stat.S_ISREG(info.st_mode):
                raise KeystoreUnreadable(path=self._path, why="it is not a regular file")
            _check_closed(self._path, info, "600")
            _check_closed(self.folder, self.folder.stat(), "700")
            with os.fdopen(handle, "rb", closefd=False) as file:
                return file.read(_SIZE_MAX + 1)
        finally:
            os.close(handle)

    def _write(self, raw: bytes) -> None:
        draft = self.folder / f".{_KEYSTORE}.{os.getpid()}"
        try:
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(raw)
                    file.flush()
                    os.fsync(handle)
                draft.replace(self._path)
            except BaseException:
                draft.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise KeystoreUnwritable(path=self._path, why=error.strerror) from error
        sync_folder(self.folder)


def _check_closed(path: Path, info: os.stat_result, mode: str) -> None:
    if info.st_uid != os.getuid():
        raise KeystoreUnsafe(path=path, why="it belongs to another user", mend=f"chown {quote(str(path))}")
    if stat.S_IMODE(info.st_mode) & 0o077:
        raise KeystoreUnsafe(path=path, why="other users can get at it", mend=f"chmod {mode} {quote(str(path))}")
