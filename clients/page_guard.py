"""Who may use the page: the user who runs it, and root; and what browsers may do with what it sends.

Every user of a machine can connect to its 127.0.0.1, and the page acts as the user who runs it. On Linux the kernel tells whose
socket is at the other end of a connection within the machine. Other systems do not tell, and the page serves whoever comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import SecureChatError

TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_ROOT: Final = 0
_LOOKS: Final = 3  # a row may be passed over when others go while the table is read
_FRAMED: Final = "/component/"  # Streamlit puts these parts of the page into frames of its own
_End = tuple[str, int]  # an address and a port


class PageOfSomebodyElse(SecureChatError):
    """This page serves only the user of this machine who has started it."""

    hint = "Start your own with 'make ui'."


class PageBehindProxy(SecureChatError):
    """This page serves no proxy: it could not tell who is behind it."""

    hint = "Open it on this machine, or through an ssh tunnel."


class Guard:
    """An ASGI application that lets those through to ``app`` who may use the page."""

    def __init__(self, app: ASGIApp, tables: tuple[Path, ...] = TABLES) -> None:
        self._app = app
        self._tables = tables

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, or refuse, one request or WebSocket."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif error := await asyncio.to_thread(self._refusal, scope):  # it takes the kernel some milliseconds
            await PlainTextResponse(f"{error} {error.advice}\n", 403)(scope, receive, send)
        else:
            await self._app(scope, receive, _with_headers(scope, send))

    def _refusal(self, scope: Scope) -> SecureChatError | None:
        client, server = scope["client"], scope["server"]
        if not os.access(self._tables[0], os.R_OK):
            return None
        # The server takes this header's word for who its client is: it names whomever the client wants.
        if any(name == b"x-forwarded-for" for name, _ in scope["headers"]):
            return PageBehindProxy()
        owner = owner_of(client, server, self._tables) if client and server else None
        if owner is None and server and not _address(server[0]).is_loopback:
            return None  # from another machine: somebody has put the page on an address for such
        return None if owner in (_ROOT, os.geteuid()) else PageOfSomebodyElse()


def owner_of(client: _End, server: _End, tables: tuple[Path, ...] = TABLES) -> int | None:
    """The id of the user whose socket is at the client's end of a connection; None if it is nobody's of this machine."""
    here, there = set(_written(*client)), set(_written(*server))
    for _ in range(_LOOKS):
        for row in _rows(tables):
            if not any(end in row for end in here):
                continue
            _, local, remote, _, _, _, _, uid, _, inode, *_ = row.split()
            # One that was closed already has no inode, and stands there as root's, whoever's it was.
            if local in here and remote in there and inode != "0":
                return int(uid)
    return None


def _rows(tables: tuple[Path, ...]) -> Iterator[str]:
    for table in tables:
        with contextlib.suppress(FileNotFoundError):  # a system without IPv6
            yield from table.read_text("ascii").splitlines()[1:]


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(host)
    return getattr(address, "ipv4_mapped", None) or address


def _written(host: str, port: int) -> Iterator[str]:
    """An address and a port as the tables have them: words in this machine's order of bytes, IPv4 in either table."""
    packed = _address(host).packed
    for form in (packed, bytes(10) + b"\xff\xff" + packed) if len(packed) == 4 else (packed,):
        words = struct.unpack(f"{'<' if sys.byteorder == 'little' else '>'}{len(form) // 4}I", form)
        yield f"{''.join(f'{word:08X}' for word in words)}:{port:04X}"


def _with_headers(scope: Scope, send: Send) -> Send:
    by_the_page, by_whom = ("SAMEORIGIN", "'self'") if scope["path"].startswith(_FRAMED) else ("DENY", "'none'")

    async def send_more(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["X-Frame-Options"] = by_the_page
            headers["Content-Security-Policy"] = f"frame-ancestors {by_whom}"
            headers["Cross-Origin-Resource-Policy"] = "same-origin"
        await send(message)

    return send_more
