"""Finding the broker: a named one, or the one that runs on this machine."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from core.address import BrokerAddress
from core.errors import BadAddress, NoBrokerFound, SecureChatError
from core.places import FILE_NAME, decode_connection_file, default_data_dir, runtime_copy

VARIABLE = "SECURECHAT_BROKER"


class UnsafeConnectionFile(SecureChatError):
    """The connection file {path} is not used: {why}."""

    hint = "If it is yours, remove it and start the broker again; it writes a new one."


def choose_broker(named: str | None, environ: Mapping[str, str], *, fallback: BrokerAddress | None = None) -> BrokerAddress:
    """The broker to use: ``named``, else SECURECHAT_BROKER, else ``fallback`` (a profile's), else the local one.

    If the profile's broker is the local one, where that is now counts, not where it was. Raises BadAddress (also for an
    address with an invite in it: other users can read flags and environments), NoBrokerFound, and UnsafeConnectionFile.
    """
    text = named or environ.get(VARIABLE)
    if not text:
        try:
            local = find_broker()
        except UnsafeConnectionFile:
            if fallback is None:
                raise
            return fallback
        found = local if fallback is None or (local and local.key == fallback.key) else fallback
        if found is None:
            raise NoBrokerFound
        return found
    address = BrokerAddress.parse(text)
    if address.invite is not None:
        raise BadAddress(why="it holds an invite, which must not stand in a flag or an environment variable")
    return address


def find_broker() -> BrokerAddress | None:
    """The address of a broker that runs on this machine for this user, or None.

    Raises UnsafeConnectionFile for a file that somebody else owns or could have written.
    """
    for path in (runtime_copy(), default_data_dir() / FILE_NAME):
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe must not hold us up
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UnsafeConnectionFile(path=path, why="it cannot be read") from error
        try:
            _check_owner(path, os.fstat(handle))
            raw = os.read(handle, 4096)
            runs = _is_locked(handle)
        finally:
            os.close(handle)
        if not runs:
            continue  # left behind by a broker that was killed
        with contextlib.suppress(BadAddress):  # of another version
            return decode_connection_file(raw).address
    return None


def _check_owner(path: Path, info: os.stat_result) -> None:
    if not stat.S_ISREG(info.st_mode):
        raise UnsafeConnectionFile(path=path, why="it is not a regular file")
    if info.st_uid != os.getuid():
        raise UnsafeConnectionFile(path=path, why="it belongs to another user")
    if info.st_mode & 0o077:
        raise UnsafeConnectionFile(path=path, why="other users can read or write it")


def _is_locked(handle: int) -> bool:
    """Whether a broker holds this file: it does so as long as it runs."""
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
