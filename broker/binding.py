"""What goes before listening: libzmq's ids, the events to hear of, the endpoint, and what to say where it cannot be had."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket

import zmq


def seed_routing_ids() -> None:
    """Make the routing ids that libzmq makes up hard to guess.

    They count on from libc's ``rand()``, which starts everywhere alike. libzmq aborts the process when it makes up an id
    that a peer has chosen for itself before.
    """
    ctypes.CDLL(None).srand(ctypes.c_uint(int.from_bytes(os.urandom(4), "big")))


def open_monitor(context: zmq.Context[zmq.Socket[bytes]], watched: zmq.Socket[bytes], events: int) -> zmq.Socket[bytes]:
    """A socket that tells of these events of ``watched``."""
    where = "inproc://broker-monitor"
    watched.monitor(where, events)
    monitor = context.socket(zmq.PAIR)
    # Without a bound: libzmq's own thread waits where a bound is reached, and then closing waits for it forever.
    monitor.rcvhwm = 0
    monitor.connect(where)
    return monitor


def bracketed(host: str) -> str:
    """A host as it stands in an endpoint."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def bind_problem(host: str, port: int, error: zmq.ZMQError) -> str:
    """What keeps the broker from listening there, and what to do about it."""
    where = f"{host}:{port}"
    if error.errno == zmq.EADDRINUSE:
        return f"Port {port} on {host} is already in use; stop what uses it, or choose another with --port."
    if error.errno in (errno.EADDRNOTAVAIL, errno.ENODEV):
        return f"This machine has no address {host}; choose another with --host."
    return f"Listening on {where} is not possible: {os.strerror(error.errno or 0)}."


def outward_address() -> str:
    """The address by which this machine would speak to others. Connecting a datagram socket sends nothing."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
    return socket.gethostname()
