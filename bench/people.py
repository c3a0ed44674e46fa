"""Users with keys made beforehand, and their login, which is the real one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from core.clock import Instant
from core.frames import Frames
from core.identity import Identity, guest_identity
from core.messages import Mode
from core.profile import Profile
from core.rsa import OpeningKey, SigningKey
from core.session import Session
from core.states import State

PAIRS: Final = 4
NO_KEY: Final = bytes(32)  # what stands for a CURVE key where CURVE is off


def now() -> Instant:
    return Instant(time.time(), time.monotonic())


class People:
    """Makes users of any name from a few RSA keys: what a key costs to make is measured elsewhere."""

    def __init__(self, keys: int = 2 * PAIRS) -> None:
        with ThreadPoolExecutor() as pool:
            signing = [pool.submit(SigningKey.generate) for _ in range(keys)]
            opening = [pool.submit(OpeningKey.generate) for _ in range(keys)]
            self.signing: Final = [one.result() for one in signing]
            self.opening: Final = [one.result() for one in opening]
        self._made = 0
        self._profiles: dict[str, Identity] = {}

    def guest(self, user: str) -> Identity:
        signing, opening = self._next()
        return guest_identity(user, signing, opening, sid=os.urandom(16), now=now().wall)

    def profile(self, user: str) -> Identity:
        """A profile: the same one whenever the name is the same."""
        if user not in self._profiles:
            made = Profile.create(user, *self._next(), os.urandom(32), now=now().wall, random=os.urandom)
            self._profiles[user] = made.identity(os.urandom(32))
        return self._profiles[user]

    def _next(self) -> tuple[SigningKey, OpeningKey]:
        number = self._made % len(self.signing)
        self._made += 1
        return self.signing[number], self.opening[number]


def log_in(
    me: Identity,
    mode: Mode,
    send: Callable[[Frames], None],
    receive: Callable[[], Frames],
    *,
    broker_key: bytes = NO_KEY,
    client_key: bytes = NO_KEY,
) -> Session:
    """HELLO, CHALLENGE, PROVE, WELCOME over whatever ``send`` and ``receive`` are."""
    session = Session(me, mode, broker_key, random=os.urandom)
    session.connect(client_key, now())
    while session.state is not State.READY:
        for message in session.outgoing():
            send(message)
        session.receive(receive(), now())
        if session.state in (State.OFFLINE, State.REFUSED):
            raise RuntimeError(f"{me.user} was not let in")
    return session
