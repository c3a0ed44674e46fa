"""The broker's files: its data folder, its key, and the connection file by which local clients find it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from broker.curve import CurveKeys, new_curve_keys
from core.errors import BadAddress, BrokerFailed
from core.limits import CURVE_KEY_BYTES
from core.places import (
    FILE_NAME,
    ConnectionFile,
    decode_connection_file,
    default_data_dir,
    encode_connection_file,
    runtime_copy,
)

KEY_NAME: Final = "broker.key"
LOCK_NAME: Final = "broker.lock"


@contextlib.contextmanager
def data_folder(path: Path) -> Iterator[Path]:
    """Make the folder if need be (mode 0700) and hold it: one broker a folder. Raises BrokerFailed."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise BrokerFailed(why=f"The folder {path} is open to other users; close it with: chmod 700 {path}")
        lock = os.open(path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BrokerFailed(why=f"The folder {path} cannot be used: {error.strerror}.") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BrokerFailed(why=f"Another broker is using the folder {path}; give this one its own with --data.") from error
        yield path
    finally:
        os.close(lock)


def load_or_make_keys(folder: Path) -> CurveKeys:
    """The broker's CURVE pair: kept in the folder, so that a restart does not look like another broker.

    Raises BrokerFailed for a key file that is damaged or open to other users; it is never overwritten.
    """
    keys = load_keys(folder)
    if keys is None:
        keys = new_curve_keys()
        save_keys(folder, keys)
    return keys


def save_keys(folder: Path, keys: CurveKeys) -> None:
    """Write the key file of a folder that has none; raises BrokerFailed."""
    os.close(_write(folder / KEY_NAME, keys.public + keys.secret))


def load_keys(folder: Path) -> CurveKeys | None:
    """The CURVE pair in the folder, None if there is none; raises what ``load_or_make_keys`` raises."""
    path = folder / KEY_NAME
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BrokerFailed(why=f"The key file {path} cannot be read: {error.strerror}.") from error
    try:
        info = os.fstat(handle)
        if not stat.S_ISREG(info.st_mode):
            raise BrokerFailed(why=f"The key file {path} is not a regular file.")
        if stat.S_IMODE(info.st_mode) & 0o077:
            raise BrokerFailed(why=f"The key file {path} is open to other users; close it with: chmod 600 {path}")
        raw = os.read(handle, 2 * CURVE_KEY_BYTES + 1)
    finally:
        os.close(handle)
    if len(raw) != 2 * CURVE_KEY_BYTES:
        raise BrokerFailed(why=f"The key file {path} is damaged; restore it, or remove it to become a new broker.")
    return CurveKeys(raw[:CURVE_KEY_BYTES], raw[CURVE_KEY_BYTES:])


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk: a file that was made, renamed or removed there stays so."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def connection_file(folder: Path, content: ConnectionFile) -> Iterator[bool]:
    """Tell local clients where the broker is, for as long as it runs.

    The files are locked as long as that: one that is not was left behind, whatever process has its process id by now.
    Yields whether clients find the broker without being told: the copy in the user's runtime folder is the first broker's
    that runs, and is not taken from it.
    """
    raw = encode_connection_file(content)
    copy = runtime_copy()
    places = [folder / FILE_NAME]
    if copy.parent.parent.is_dir() and not _is_locked(copy):
        places.append(copy)
    with contextlib.ExitStack() as written:
        found = folder == default_data_dir()
        for place in places:
            try:
                written.enter_context(_written(place, raw))
                found = found or place == copy
            except BrokerFailed:
                if place != copy:
                    raise
        yield found


@contextlib.contextmanager
def _written(place: Path, raw: bytes) -> Iterator[None]:
    """A connection file at ``place``, locked; removed at the end if it is still this one."""
    handle = _write(place, raw)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if place.read_bytes() == raw:
                place.unlink()
        os.close(handle)


def running(folder: Path) -> ConnectionFile | None:
    """What the broker that runs on this folder wrote down for its clients; None if none runs.

    The broker's own lock is left alone: one that is starting must not find it taken.
    """
    path = folder / FILE_NAME
    with contextlib.suppress(OSError, BadAddress):
        if _is_locked(path):
            return decode_connection_file(path.read_bytes())
    return None


def _is_locked(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _write(path: Path, raw: bytes) -> int:
    """Write a file of mode 0600 whole or not at all; returns a descriptor that holds a lock on it from its first moment."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.ExitStack() as on_failure:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            on_failure.callback(os.close, handle)
            on_failure.callback(draft.unlink, missing_ok=True)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with os.fdopen(handle, "wb", closefd=False) as file:
                file.write(raw)
                file.flush()
                os.fsync(handle)
            draft.replace(path)
        except OSError as error:
            raise BrokerFailed(why=f"The file {path} cannot be written: {error.strerror}.") from error
        on_failure.pop_all()
    return handle
