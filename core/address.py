"""A broker's address: ``securechat://HOST[,HOST...]:PORT/KEY[/INVITE]``, keys in base64url."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from core.encoding import b64url, from_b64url
from core.errors import BadAddress
from core.limits import CURVE_KEY_BYTES

SCHEME = "securechat://"
_FORM = re.compile(r"securechat://(?P<hosts>[^/]+):(?P<port>[0-9]{1,5})/(?P<key>[^/]+)(?:/(?P<invite>[^/]+))?\Z")
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9]+)?\])\Z")


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where a broker is, and the CURVE public key (32 bytes) that it must prove to hold.

    ``hosts`` are tried in order; an IPv6 one stands in brackets. ``invite`` is a CURVE secret key, or None.
    """

    hosts: tuple[str, ...]
    port: int
    key: bytes
    invite: bytes | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> BrokerAddress:
        """Read an address; raises BadAddress, which never repeats the text: it may hold an invite."""
        text = text.strip()
        if not text.startswith(SCHEME):
            raise BadAddress(why=f"it does not begin with {SCHEME}")
        match = _FORM.match(text)
        if not match:
            raise BadAddress(why="it is not of the form securechat://HOST:PORT/KEY")
        hosts = tuple(match["hosts"].split(","))
        if not all(_HOST.match(host) for host in hosts):
            raise BadAddress(why="its host is not a name or an address")
        port = int(match["port"])
        if not 1 <= port <= 65535:
            raise BadAddress(why="its port is not between 1 and 65535")
        try:
            key = from_b64url(match["key"], CURVE_KEY_BYTES)
            invite = from_b64url(match["invite"], CURVE_KEY_BYTES) if match["invite"] else None
        except ValueError:
            raise BadAddress(why="its key is not 43 characters of base64url") from None
        return cls(hosts, port, key, invite)

    def at(self, host: str) -> BrokerAddress:
        """The same broker by another host name or address."""
        return BrokerAddress((f"[{host}]" if ":" in host else host,), self.port, self.key)

    @property
    def where(self) -> str:
        """Host and port, for people and logs."""
        return f"{','.join(self.hosts)}:{self.port}"

    @property
    def url(self) -> str:
        """The address as text, without the invite."""
        return f"{SCHEME}{self.where}/{b64url(self.key)}"

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The ZeroMQ endpoints, in the order to try them."""
        return tuple(f"tcp://{host}:{self.port}" for host in self.hosts)
