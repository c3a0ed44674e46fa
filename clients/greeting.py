"""Whether a ZeroMQ server listens somewhere, before anything is known of whose it is."""

from __future__ import annotations

import socket
from typing import Final

_LIMIT: Final = 2.0  # seconds


def greets(host: str, port: int) -> bool:
    """Whether what listens there greets as ZMTP 3 does; ``host`` may stand in brackets. Takes up to a few seconds."""
    try:
        with socket.create_connection((host.strip("[]"), port), timeout=_LIMIT) as probe:
            greeting = probe.recv(10, socket.MSG_WAITALL)
    except OSError:
        return False
    return len(greeting) == 10 and greeting[0] == 0xFF and greeting[9] == 0x7F
