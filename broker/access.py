"""Who may connect: decides on ZeroMQ's authentication requests (ZAP, RFC 27), before any frame of ours is read."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from core.limits import CURVE_KEY_BYTES

_VERSION = b"1.0"


@dataclass(frozen=True, slots=True)
class Access:
    """Lets this machine in, and others only if ``open_to_all``."""

    open_to_all: bool

    def admits(self, address: str) -> bool:
        """Whether a peer from this IP address may connect."""
        if self.open_to_all:
            return True
        try:
            ip = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
            ip = ip.ipv4_mapped
        return ip.is_loopback

    def answer(self, request: Sequence[bytes]) -> list[bytes]:
        """The reply to one ZAP request. The peer's CURVE public key, in hexadecimal, becomes its User-Id."""
        if len(request) != 7 or request[0] != _VERSION:
            return [_VERSION, request[1] if len(request) > 1 else b"", b"500", b"not a request", b"", b""]
        _, number, _, address, _, mechanism, key = request
        if mechanism == b"CURVE" and len(key) == CURVE_KEY_BYTES and self.admits(address.decode("ascii", "replace")):
            return [_VERSION, number, b"200", b"OK", key.hex().encode("ascii"), b""]
        return [_VERSION, number, b"400", b"not invited", b"", b""]
