"""The broker's CURVE keys."""

from __future__ import annotations

from dataclasses import dataclass

import zmq
from zmq.utils import z85


@dataclass(frozen=True, slots=True)
class CurveKeys:
    """A CURVE pair, 32 bytes each."""

    public: bytes
    secret: bytes

    def __repr__(self) -> str:
        """Never show the secret."""
        return f"CurveKeys(public={self.public.hex()})"


def new_curve_keys() -> CurveKeys:
    """A fresh pair."""
    public, secret = zmq.curve_keypair()
    return CurveKeys(z85.decode(public), z85.decode(secret))
