"""Connections to the router whose frames are made by hand."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

from core import frames, messages
from core.bundle import Kind, sign_bundle
from core.frames import Frames
from core.login import LoginContext, prove
from core.messages import Error, Hello, Mode, Prove, Reason
from core.rsa import SigningKey
from tests.keys import BROKER_KEY, Keys, keys_of
from tests.pairs import World

MALLORY = keys_of("mallory")


@dataclass
class Raw:
    """A connection whose frames are made by hand."""

    world: World
    rid: bytes
    client_key: bytes

    @classmethod
    def open(cls, world: World) -> Raw:
        return cls(world, os.urandom(5), os.urandom(32))

    def say(self, raw: Frames) -> list[object]:
        """Send one message; returns what came back."""
        self.world.take(self.rid, self.client_key, raw)
        return [frames.read_from_broker(one) for one in self.world.said.pop(self.rid, [])]

    def hello(self, keys: Keys = MALLORY, user: str = "mallory", **changes: Any) -> Hello:
        bundle = sign_bundle(user, Kind.GUEST, keys.signing, keys.opening.public, seq=1, now=self.world.now.wall)
        plain = Hello((1,), Mode.FULL, user, Kind.GUEST, keys.signing.public.spki, bundle, None, bytes(32))
        return Hello(**{**{name: getattr(plain, name) for name in plain.__struct_fields__}, **changes})

    def log_in(self, hello: Hello | None = None, signing: SigningKey | None = None, **changes: Any) -> object:
        """Go through a login; returns the broker's last word on it. ``changes`` are to what is signed."""
        hello = hello or self.hello()
        (challenge,) = self.say(frames.control(hello))
        if not isinstance(challenge, messages.Challenge):
            return challenge
        context = LoginContext(BROKER_KEY, self.client_key, hello.nonce, challenge.nonce, hello.user)
        signature = prove(signing or MALLORY.signing, replace(context, **changes))
        return self.say(frames.control(Prove(signature)))[0]

    @property
    def ended(self) -> bool:
        return self.rid in self.world.cut


def refusal(answer: object) -> Reason:
    assert isinstance(answer, Error)
    return answer.reason
