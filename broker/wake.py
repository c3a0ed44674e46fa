"""A bell that any thread may ring, and a poll can wait for."""

from __future__ import annotations

import contextlib
import socket


class Wake:
    """Two joined sockets: what is written into one makes the other readable."""

    def __init__(self) -> None:
        self._in, self._out = socket.socketpair()
        self._in.setblocking(False)
        self._out.setblocking(False)

    def fileno(self) -> int:
        """What to poll for reading."""
        return self._out.fileno()

    def ring(self) -> None:
        """End the poll. From any thread, or from a signal handler."""
        with contextlib.suppress(OSError):  # full: it rings already; closed: nobody is left to hear it
            self._in.send(b"\0")

    def hush(self) -> None:
        """Be ready for the next ring."""
        with contextlib.suppress(BlockingIOError):
            while self._out.recv(4096):
                pass

    def close(self) -> None:
        """Close both sockets."""
        self._in.close()
        self._out.close()
