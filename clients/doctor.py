"""What ``securechat-cli doctor`` looks at, one thing at a time. Nothing is changed, unlocked or sent."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import sqlite3
import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from shlex import quote
from typing import Final

import zmq

from clients.backup import DRAFT
from clients.chat import ChatClient
from clients.config_file import config_path, with_config
from clients.database import look_into
from clients.discovery import VARIABLE, choose_broker, find_broker
from clients.keystore import Keystore
from clients.profiles import BROKER_SETTING, DATABASE
from clients.store import VERSION
from core.address import BrokerAddress
from core.errors import BrokerUnreachable, ConfigBroken, NoBrokerFound, NotInvited, SecureChatError
from core.messages import Mode
from core.places import FILE_NAME, default_data_dir, runtime_copy

_DISTRIBUTION: Final = "securechat-rsa"
_REQUIREMENT: Final = re.compile(r"(?P<name>[A-Za-z0-9._-]+)>=(?P<least>[0-9.]+)\Z")
_PYTHON: Final = (3, 11)
_ROOM_LEAST: Final = 16 << 20  # bytes on the disk, below which programs stop in the middle of something soon
_SIGNS: Final = "äöü …·✓✗█▀▄"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what it is, whether all is well with it, and what to do if not, or if one likes."""

    check: str
    ok: bool
    text: str
    advice: str = ""
    profile: str | None = None


def _failed(check: str, error: SecureChatError, profile: str | None = None) -> Finding:
    return Finding(check, ok=False, text=str(error), advice=error.advice, profile=profile)


def _to_mend(check: str, text: str, command: str, path: Path, profile: str | None = None) -> Finding:
    """What one command of the shell mends."""
    return Finding(check, ok=False, text=text, advice=f"Mend it with: {command} {quote(str(path))}", profile=profile)


def check_config() -> Finding | None:
    """What is wrong with ``config.toml``, if something is."""
    try:
        with_config(os.environ)
    except ConfigBroken as error:
        return _failed("config file", error)
    return None


def check_python() -> Finding:
    """The Python that runs this."""
    text = f"{platform.python_version()} ({sys.executable})"
    enough = sys.version_info >= _PYTHON
    return Finding("python", enough, text, "" if enough else f"It needs Python {_PYTHON[0]}.{_PYTHON[1]} or newer.")


def check_libraries() -> Finding:
    """The packages that the installed project asks for, in the versions that it needs."""
    try:
        asked = [found for one in metadata.requires(_DISTRIBUTION) or () if (found := _REQUIREMENT.match(one))]
    except metadata.PackageNotFoundError:
        return Finding("libraries", ok=False, text="SecureChat is not installed", advice="Install it with: make install")
    versions: dict[str, str] = {}
    wrong = []
    for one in asked:
        name, least = one["name"], one["least"]
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{name} is missing")
            continue
        if _numbers(versions[name]) < _numbers(least):
            wrong.append(f"{name} {versions[name]} is older than {least}")
    if not zmq.has("curve"):
        wrong.append("pyzmq was built without CURVE")
    if wrong:
        return Finding("libraries", ok=False, text=", ".join(wrong), advice="Install what is asked for with: make install")
    return Finding("libraries", ok=True, text=", ".join(f"{name} {version}" for name, version in versions.items()))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(one) for one in re.findall(r"[0-9]+", version)[:3])


def check_terminal(encoding: str | None) -> Finding:
    """Whether what is printed can be shown; ``encoding`` is standard output's."""
    name = encoding or "ascii"
    try:
        _SIGNS.encode(name)
    except UnicodeEncodeError:
        return Finding("terminal", ok=False, text=f"its encoding, {name}, lacks characters", advice="Set LANG=C.UTF-8")
    return Finding("terminal", ok=True, text=name)


def check_home(home: Path) -> Finding:
    """The folder that profiles are kept in."""
    names = Keystore.names(home)
    for folder in (home, home / "profiles"):
        try:
            info = folder.stat()
        except FileNotFoundError:
            continue
        except OSError as error:
            return Finding("home", ok=False, text=f"{folder} cannot be read: {error.strerror}")
        if info.st_uid != os.getuid():
            return _to_mend("home", f"{folder} belongs to another user", "chown", folder)
        if info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return _to_mend("home", f"other users can write to {folder}", "chmod go-w", folder)
        room = os.statvfs(folder)
        if room.f_flag & os.ST_RDONLY or not os.access(folder, os.W_OK):
            return Finding("home", ok=False, text=f"{folder} cannot be written, and a profile's programs write there")
        if room.f_bavail * room.f_frsize < _ROOM_LEAST:
            return Finding("home", ok=False, text=f"the disk of {folder} is full", advice="Make room on it.")
    if left := sorted(home.glob(f"{DRAFT}*")):
        text = f"{left[0]} was left behind by a restore that was killed, with keys in it; unless one is under way, delete it"
        return _to_mend("home", text, "rm -r", left[0])
    kept = f"profiles: {', '.join(names)}" if names else "no profile; a guest needs none"
    return Finding("home", ok=True, text=f"{home}, {kept}")


def check_profile(home: Path, name: str) -> Iterator[Finding]:
    """A profile's keystore, database and outbox, without its passphrase."""
    try:
        keystore = Keystore(home, name)
        if keystore.needs_passphrase:
            yield Finding("keystore", ok=True, text="locked with a passphrase", profile=name)
        else:
            keystore.open(None)
            yield Finding("keystore", ok=True, text="not locked: its file's mode protects its keys", profile=name)
    except SecureChatError as error:
        yield _failed("keystore", error, name)
        return
    path = keystore.folder / DATABASE
    try:
        yield _check_database(path, name)
        with contextlib.suppress(sqlite3.Error):  # what stands in the way was said
            waiting = _query(path, "SELECT count(*) FROM outbox")
            what = "1 message waits" if waiting == 1 else f"{waiting} messages wait" if waiting else "nothing waits"
            advice = f"Send it now with: securechat-cli --profile {name} outbox retry" if waiting else ""
            yield Finding("outbox", ok=True, text=f"{what} to be sent", advice=advice, profile=name)
    except OSError as error:
        yield Finding("database", ok=False, text=f"{path} cannot be read: {error.strerror}", profile=name)


def _check_database(path: Path, name: str) -> Finding:
    restore = "Move the profile's folder away, and put it back from a backup with: securechat-cli restore FILE"
    if not path.exists():
        return Finding(
            "database", ok=False, text=f"{path} is missing: pins and history are in it", advice=restore, profile=name
        )
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        return _to_mend("database", f"other users can get at {path}", "chmod 600", path, name)
    try:
        version = _query(path, "PRAGMA user_version")
        if version != VERSION:
            text = f"{path} is of version {version}, and this program knows {VERSION}"
            return Finding("database", ok=False, text=text, advice="Use the program that made it.", profile=name)
        found = str(_query(path, "PRAGMA quick_check(1)"))
    except sqlite3.Error as error:
        return Finding("database", ok=False, text=f"{path} cannot be used: {error}", advice=restore, profile=name)
    if found != "ok":
        return Finding("database", ok=False, text=f"{path} is damaged: {' '.join(found.split())}", advice=restore, profile=name)
    return Finding("database", ok=True, text="whole", profile=name)


def pinned_broker(home: Path, name: str) -> BrokerAddress | None:
    """The broker that a profile belongs to, if it has one and its database can be read."""
    with contextlib.suppress(sqlite3.Error, OSError, SecureChatError):
        url = _query(Keystore(home, name).folder / DATABASE, "SELECT value FROM settings WHERE name = ?", BROKER_SETTING)
        return BrokerAddress.parse(str(url)) if url else None
    return None


def _query(path: Path, sql: str, *values: object) -> object:
    """The first value of the first row, or None."""
    rows = look_into(path, sql, *values)
    return rows[0][0] if rows else None


def find(named: str | None, environ: Mapping[str, str], pinned: BrokerAddress | None) -> tuple[Finding, BrokerAddress | None]:
    """Which broker would be used, and from where that is known."""
    try:
        around = with_config(environ)
        address = choose_broker(named, around, fallback=pinned)
    except NoBrokerFound as error:
        left = [path for path in (runtime_copy(), default_data_dir() / FILE_NAME) if path.exists()]
        if left:
            why = f"{left[0]} was left behind by a broker that runs no more"
            return Finding("broker", ok=False, text=why, advice="Start it again with: securechat-broker"), None
        return _failed("broker", error), None
    except SecureChatError as error:
        return _failed("broker", error), None
    if named or around.get(VARIABLE):
        source = "named by --broker" if named else f"named by {VARIABLE if environ.get(VARIABLE) else config_path()}"
    else:
        with contextlib.suppress(SecureChatError):
            if find_broker() == address:
                return Finding("broker", ok=True, text=f"{address.where} runs on this machine"), address
        source = "the one that the profile belongs to"
    if pinned is not None and pinned.key != address.key:
        text = f"{address.where}, {source}, is not the one that the profile belongs to"
        return Finding("broker", ok=False, text=text, advice="Name the right one, or use another profile."), address
    return Finding("broker", ok=True, text=f"{address.where}, {source}"), address


def check_connection(address: BrokerAddress, timeout: float) -> Finding:
    """Whether the broker answers, and holds the key of its address: asked as a guest whom nobody sees."""
    client = ChatClient(f"doctor-{os.urandom(3).hex()}", address, mode=Mode.SEND, events=False)
    client.start()
    try:
        client.wait_ready(timeout)
    except NotInvited:
        text = (
            "something answers there; it lets in from here only who is invited, as this check is not, and shows no key before"
        )
        return Finding("connection", ok=True, text=text)
    except SecureChatError as error:
        if type(error) is BrokerUnreachable:  # its advice is to run this
            advice = "Is it running? 'securechat-broker' starts one where it is to run."
            return Finding("connection", ok=False, text=str(error), advice=advice)
        return _failed("connection", error)
    finally:
        client.close()
    return Finding("connection", ok=True, text="it answers, and holds its key")
