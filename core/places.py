"""Where a broker and its clients meet on one machine: the connection file's places and form. Nothing is opened here."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Final

import msgspec
import platformdirs

from core.address import BrokerAddress
from core.encoding import b64url
from core.errors import BadAddress

APP: Final = "securechat"
FILE_NAME: Final = "broker.json"
EVERYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104 - compared; what is bound is chosen by --host and guarded by ZAP


class ConnectionFile(msgspec.Struct, frozen=True):
    """What a running broker writes down for local clients: its address, and its process id.

    ``host`` is the address that it listens on, which may be all of this machine's: ``0.0.0.0`` or ``::``.
    """

    v: int
    url: str
    host: str
    port: int
    key: str
    pid: int

    @classmethod
    def describe(cls, host: str, port: int, key: bytes, pid: int) -> ConnectionFile:
        """What to write for a broker with this CURVE public key (32 bytes) that listens on ``host``."""
        near = "127.0.0.1" if host in EVERYWHERE else host
        address = BrokerAddress((f"[{near}]" if ":" in near else near,), port, key)
        return cls(v=1, url=address.url, host=host, port=port, key=b64url(key), pid=pid)

    @property
    def address(self) -> BrokerAddress:
        """The address in it; raises BadAddress."""
        return BrokerAddress.parse(self.url)

    @property
    def is_local(self) -> bool:
        """Whether no other machine can reach it."""
        return self.host == "::1" or self.host.startswith("127.")


def default_data_dir() -> Path:
    """The broker's data folder unless told otherwise."""
    return Path(platformdirs.user_state_dir(APP)) / "broker"


def runtime_copy() -> Path:
    """The copy of the connection file that local clients look at first.

    Some systems have no runtime folder for a user; then what this names has no folder to be in, and there is no copy.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it makes do with a substitute, which is then not there
        try:
            return Path(platformdirs.user_runtime_dir(APP)) / FILE_NAME
        except OSError:  # somebody else has taken the substitute's name
            return default_data_dir() / "runtime" / APP / FILE_NAME


def encode_connection_file(content: ConnectionFile) -> bytes:
    """The file's bytes: one JSON object and a newline."""
    return msgspec.json.encode(content) + b"\n"


def decode_connection_file(raw: bytes) -> ConnectionFile:
    """Read a connection file; raises BadAddress."""
    try:
        content = msgspec.json.decode(raw, type=ConnectionFile)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise BadAddress(why="the connection file does not parse") from error
    if content.v != 1 or not 1 <= content.pid < 2**31:
        raise BadAddress(why="the connection file is of another version")
    return content
