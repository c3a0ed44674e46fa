"""ZMTP 3.0 (NULL mechanism) over a plain TCP socket: a client that costs the load almost nothing.

With libzmq at both ends, the load would need more of the two cores than the relay that it is to measure.
"""

from __future__ import annotations

import os
import socket
from typing import Final

from core.frames import Frames
from core.limits import ROUTING_ID_BYTES

_GREETING: Final = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + b"\0" + bytes(31)
_MORE, _LONG, _COMMAND = 1, 2, 4
_WAIT: Final = 20.0


def encode(frames: Frames) -> bytes:
    """One message as it stands on the wire."""
    last = len(frames) - 1
    return b"".join([_frame(body, _MORE if at < last else 0) for at, body in enumerate(frames)])


def _frame(body: bytes, flags: int) -> bytes:
    if len(body) < 256:
        return bytes((flags, len(body))) + body
    return bytes((flags | _LONG,)) + len(body).to_bytes(8, "big") + body


def _property(name: bytes, value: bytes) -> bytes:
    return bytes((len(name),)) + name + len(value).to_bytes(4, "big") + value


def routing_id() -> bytes:
    """A routing id as clients choose theirs."""
    return b"\1" + os.urandom(ROUTING_ID_BYTES - 1)


class Wire:
    """One client connection. After the login its socket may be used directly, for whole buffers of messages."""

    def __init__(self, port: int, identity: bytes = b"") -> None:
        self.socket: Final = socket.create_connection(("127.0.0.1", port), _WAIT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(_GREETING)
        self._exactly(len(_GREETING))
        ready = b"\x05READY" + _property(b"Socket-Type", b"DEALER") + _property(b"Identity", identity or routing_id())
        self.socket.sendall(_frame(ready, _COMMAND))
        self._read_frame()

    def send(self, message: Frames) -> None:
        self.socket.sendall(encode(message))

    def receive(self) -> Frames:
        message: Frames = []
        while True:
            flags, body = self._read_frame()
            message.append(body)
            if not flags & _MORE:
                return message

    def close(self) -> None:
        self.socket.close()

    def _read_frame(self) -> tuple[int, bytes]:
        flags, size = self._exactly(2)
        if flags & _LONG:
            size = int.from_bytes(bytes((size,)) + self._exactly(7), "big")
        return flags, self._exactly(size)

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            if not part:
                raise ConnectionError("the relay closed the connection")
            data += part
        return bytes(data)
