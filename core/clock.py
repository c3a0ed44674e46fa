"""Time as a value: whoever calls core says what time it is."""

from __future__ import annotations

from typing import NamedTuple


class Instant(NamedTuple):
    """One moment on both clocks, in seconds.

    ``wall`` (since 1970, UTC) dates messages and bundles; ``mono`` (since anything) measures silence and never jumps.
    """

    wall: float
    mono: float

    @property
    def ms(self) -> int:
        """The wall clock in whole milliseconds."""
        return int(self.wall * 1000)
