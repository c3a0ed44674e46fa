"""A guest's keys: made when it starts, and forgotten with it."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor

from core.identity import Identity, guest_identity
from core.limits import MID_BYTES
from core.rsa import OpeningKey, SigningKey


def make_guest(user: str, *, receives: bool) -> Identity:
    """Fresh keys for ``user``, made side by side; without an encryption key unless it ``receives``."""
    with ThreadPoolExecutor(2, "securechat-keys") as pool:
        opening = pool.submit(OpeningKey.generate) if receives else None
        signing = pool.submit(SigningKey.generate)
        return guest_identity(
            user, signing.result(), opening.result() if opening else None, sid=os.urandom(MID_BYTES), now=time.time()
        )
