"""What an administrator allows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quota:
    """What may wait for one name (copies and bytes), and for how many seconds."""

    copies: int = 100_000
    bytes: int = 256 * 1024 * 1024
    seconds: int = 30 * 86_400
