"""What both load engines share: the messages, what is measured, and that every one was answered."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

from bench.processes import Usage
from core.frames import Frames, deliver, send
from core.limits import COPY_ID_BYTES, MID_BYTES
from core.messages import Status

MIDS: Final = 256  # different messages of one sender; it sends them in turn
PROOF: Final = b"\xaa" * 32  # a delivery proof in size; only its sender's client could tell that it is none
RESULT: Final = MID_BYTES + 3 + len(PROOF)


@dataclass(frozen=True, slots=True)
class Measured:
    """Messages a second, and CPU seconds for a message: of the relay as a whole, and of its busiest thread."""

    rate: float
    total_cpu: float
    busiest_cpu: float

    @classmethod
    def of(cls, messages: int, seconds: float, usage: Usage) -> Measured:
        return cls(messages / seconds, usage.total / messages, usage.busiest / messages)


def mail(to: str, size: int) -> list[Frames]:
    """SENDs to one user, whose ``common`` has ``size`` bytes."""
    return [send(os.urandom(MID_BYTES), to, bytes(size)) for _ in range(MIDS)]


def deliver_head(sender: str) -> bytes:
    """A head of the size that messages from ``sender`` arrive with."""
    return deliver(bytes(COPY_ID_BYTES), bytes(MID_BYTES), sender, b"", None)[0]


def five_frames(message: Frames) -> Frames:
    """A message of the same payload, in five frames."""
    each, rest = divmod(sum(map(len, message)), 5)
    return [bytes(each + (at < rest)) for at in range(5)]


def check_answers(messages: Sequence[Frames], results: Sequence[bytes], count: int) -> None:
    """Raise unless each of one sender's ``count`` messages has exactly one answer, and it is DELIVERED with the proof."""
    body = b"".join(results)
    entries = Counter(body[at : at + RESULT] for at in range(0, len(body), RESULT))
    mids = [message[0][1 : 1 + MID_BYTES] for message in messages]
    wanted = {mid + b"\0\0" + bytes((Status.DELIVERED,)) + PROOF: count // MIDS for mid in mids}
    if entries != wanted:
        raise RuntimeError("messages were lost, answered twice, or refused")


def check_copies(copy_ids: Sequence[Sequence[bytes]], count: int) -> None:
    """Raise unless the receivers together got ``count`` different copies."""
    joined = b"".join(chain.from_iterable(copy_ids))
    different = {joined[at : at + COPY_ID_BYTES] for at in range(0, len(joined), COPY_ID_BYTES)}
    if len(joined) != count * COPY_ID_BYTES or len(different) != count:
        raise RuntimeError("messages were lost or delivered twice")
