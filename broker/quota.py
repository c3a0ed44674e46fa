"""What an administrator allows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quota:
    """What may wait for one name (copies and bytes), and for how many seconds; and what files may take, in bytes.

    ``user_bytes`` bounds the files of one user, ``total_bytes`` those of all. They are kept for ``seconds``, too.
    """

    copies: int = 100_000
    bytes: int = 256 * 1024 * 1024
    seconds: int = 30 * 86_400
    user_bytes: int = 4 * 1024**3
    total_bytes: int = 64 * 1024**3
