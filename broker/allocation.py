"""How the C library hands out memory to libzmq."""

from __future__ import annotations

import ctypes
import platform
from typing import Final

_M_MMAP_THRESHOLD: Final = -3  # glibc's malloc.h
_QUEUE_CHUNK: Final = 16 * 1024


def keep_idle_queues_small() -> None:
    """Have glibc give each of libzmq's queues pages of its own; elsewhere this does nothing.

    libzmq takes five blocks of 16 KiB and more for a connection, and an idle one writes to a page or two of each. Cut out of
    what was used before, a block has all its pages in memory; mapped by itself, only those that are written to. A client in
    the roster of 2,000 costs half as much. The price is a system call for each message of that size.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _QUEUE_CHUNK)
