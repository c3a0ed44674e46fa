"""Somebody whose program is not ours: their messages skip numbers, come late, or are made for a key that nobody has."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass

from playwright.sync_api import Page

from clients.courier import Courier
from clients.guests import make_guest
from clients.transport import instant
from core import frames
from core.address import BrokerAddress
from core.bundle import Suite
from core.content import Text
from core.envelope import To, direct_cid, seal
from core.events import Welcomed
from core.limits import MID_BYTES
from core.rsa import OpeningKey, SealKey


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to write to: the id of their identity key (32 bytes), and the key to encrypt to."""

    user: str
    kid: bytes
    key: SealKey

    @classmethod
    def on(cls, page: Page, user: str) -> Target:
        """Whoever is connected on a page, by the keys that it shows."""
        page.get_by_role("button", name="My key").click()
        shown = page.locator("[data-testid=stPopoverBody] code")
        kid, pem = shown.nth(0).inner_text(), shown.nth(1).inner_text()
        page.keyboard.press("Escape")
        body = "".join(line for line in pem.split("\n") if line and not line.startswith("-"))
        return cls(user, bytes.fromhex(kid.replace(" ", "")), SealKey(base64.b64decode(body)))


class Forger:
    """A guest that seals and sends by itself. Its courier is to be used in a ``with``."""

    def __init__(self, user: str, broker: BrokerAddress) -> None:
        self._me = make_guest(user, receives=True)
        self.courier = Courier(self._me, broker, lambda: None)

    def come(self) -> None:
        """Wait until the broker has let it in."""
        next(event for event in self.courier.events() if isinstance(event, Welcomed))

    def send(self, text: str, to: Target, number: int, *, for_nobody: bool = False) -> None:
        """Send a text under this number, encrypted to the recipient's key or to one that nobody has."""
        key = OpeningKey.generate().public if for_nobody else to.key
        mid = os.urandom(MID_BYTES)
        sealed = seal(
            Text(text),
            suite=Suite.HYBRID,
            sender=self._me.user,
            kind=self._me.kind,
            signing=self._me.signing,
            sid=self._me.sid,
            mid=mid,
            cid=direct_cid(self._me.kid, to.kid),
            to=[To(to.user, key, number)],
            now_ms=instant().ms,
            random=os.urandom,
        )
        self.courier.put([frames.send(mid, to.user, sealed.common_direct())])
