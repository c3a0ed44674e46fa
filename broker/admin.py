"""What an administrator does to a broker's log, whether the broker runs or not: invites, and names."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from ipaddress import IPv6Address
from pathlib import Path

from broker.curve import new_curve_keys
from broker.files import load_or_make_keys
from broker.ledger import Invited, Ledger, LogEvent, Released, Revoked, decode_event
from broker.reading import must_exist, reading
from broker.storage import LOG_NAME, append, open_log
from core.address import BrokerAddress
from core.encoding import b64url, from_b64url
from core.errors import BadAddress, BrokerFailed
from core.names import check_name
from core.places import FILE_NAME, ConnectionFile, decode_connection_file


def make_invite(folder: Path, uses: int, seconds: float, host: str, default_port: int) -> tuple[str, str]:
    """Add an invite to the log; returns its line, secret included, and the name by which it is revoked."""
    must_exist(folder)
    running = listening(folder)
    port, key_of_broker = running.port if running else default_port, load_or_make_keys(folder).public
    with contextlib.suppress(ValueError):  # a name, or an address of version 4
        host = f"[{IPv6Address(host)}]"
    address = BrokerAddress((host,), port, key_of_broker)
    try:
        BrokerAddress.parse(address.url)
    except BadAddress as error:
        raise BrokerFailed(why=f"No invite was made: {host} is no host's name or address.") from error
    keys = new_curve_keys()
    now = int(time.time())
    key = b64url(keys.public)
    _append(folder, Invited(key, uses, now + int(seconds), now))
    return f"{address.url}/{b64url(keys.secret)}", invite_name(key)


def listening(folder: Path) -> ConnectionFile | None:
    """Where the broker of this folder listens, or did when it was killed; None if it has ended well."""
    with contextlib.suppress(OSError, BadAddress):
        return decode_connection_file((folder / FILE_NAME).read_bytes())
    return None


def invite_name(key: str) -> str:
    """What an invite is called: the first four bytes of its public key (b64url), in hexadecimal."""
    return from_b64url(key)[:4].hex()


def revoke(folder: Path, name: str) -> None:
    """Revoke the invite that is called ``name``; raises BrokerFailed if that is none, or several."""
    found = [key for key, _ in read_ledger(folder).invites() if invite_name(key) == name.lower()]
    if len(found) != 1:
        raise BrokerFailed(why=f"There is no invite {name}; 'securechat-broker invites' lists them.")
    _append(folder, Revoked(found[0], int(time.time())))


def release(folder: Path, name: str) -> None:
    """Take a name from the profile that holds it; raises BrokerFailed if none does, and BadName."""
    if read_ledger(folder).owner(check_name(name)) is None:
        raise BrokerFailed(why=f"No profile holds the name {name}; 'securechat-broker users' lists them.")
    _append(folder, Released(name, int(time.time())))


def read_ledger(folder: Path) -> Ledger:
    """What the log amounts to now."""
    must_exist(folder)
    ledger = Ledger()
    with reading(folder, LOG_NAME) as database:
        for (raw,) in database.execute("SELECT event FROM log ORDER BY id"):
            ledger.apply(decode_event(raw))
    return ledger


def _append(folder: Path, event: LogEvent) -> None:
    with contextlib.closing(open_log(folder / LOG_NAME)) as database:
        try:
            append(database, [event])
        except sqlite3.Error as error:
            raise BrokerFailed(why=f"The log in {folder} cannot be written: {error}.") from error
