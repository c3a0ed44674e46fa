"""Whether the broker answers, found out as a client would: a CURVE handshake with its key, and one question."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import zmq
from zmq.utils import z85
from zmq.utils.monitor import parse_monitor_message

from broker.binding import open_monitor
from broker.files import running
from core import frames
from core.address import BrokerAddress
from core.errors import BrokerFailed, FrameError
from core.limits import ROUTING_ID_BYTES
from core.messages import Error, Users

_ADMITTED = int(zmq.EVENT_HANDSHAKE_SUCCEEDED)
# A broker that lets this machine in only with an invite says so before it has shown its key; its own folder says that it runs.
_NOT_ADMITTED = int(zmq.EVENT_HANDSHAKE_FAILED_AUTH)
_ANOTHER = int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL) | int(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL)
_NOBODY = int(zmq.EVENT_DISCONNECTED) | int(zmq.EVENT_CLOSED)


def check_health(folder: Path, seconds: float) -> BrokerAddress:
    """Ask the broker that runs on this folder something; returns where it answered. Raises BrokerFailed if it does not."""
    content = running(folder)
    if content is None:
        raise BrokerFailed(why=f"No broker runs on the folder {folder}.")
    address = content.address
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    sock = context.socket(zmq.DEALER)
    monitor = open_monitor(context, sock, _ADMITTED | _NOT_ADMITTED | _ANOTHER | _NOBODY)
    try:
        sock.linger = 0
        sock.ipv6 = True
        sock.routing_id = b"\1" + os.urandom(ROUTING_ID_BYTES - 1)
        sock.curve_publickey, sock.curve_secretkey = zmq.curve_keypair()
        sock.curve_serverkey = z85.encode(address.key)
        sock.reconnect_ivl = -1
        sock.connect(address.endpoints[0])
        _ask(sock, monitor, address, time.monotonic() + seconds)
    except zmq.ZMQError as error:
        raise BrokerFailed(why=f"The broker at {address.where} cannot be asked: {os.strerror(error.errno or 0)}.") from error
    finally:
        sock.monitor(None, 0)
        monitor.close(0)
        sock.close(0)
        context.term()
    return address


def _ask(sock: zmq.Socket[bytes], monitor: zmq.Socket[bytes], address: BrokerAddress, deadline: float) -> None:
    """Return once the broker has answered."""
    poller = zmq.Poller()
    poller.register(sock, zmq.POLLIN)
    poller.register(monitor, zmq.POLLIN)
    while (left := deadline - time.monotonic()) > 0:
        ready = dict(poller.poll(int(left * 1000) + 1))
        if sock in ready:
            with contextlib.suppress(FrameError):
                if isinstance(frames.read_from_broker(sock.recv_multipart(zmq.NOBLOCK)), Error):
                    return  # that whoever asks must log in first
            raise BrokerFailed(why=f"What answers at {address.where} does not speak as a broker does.")
        if monitor in ready:
            event = int(parse_monitor_message(monitor.recv_multipart())["event"])
            if event == _ADMITTED:
                sock.send_multipart(frames.control(Users()), zmq.NOBLOCK)
            elif event == _NOT_ADMITTED:
                return
            elif event & _ANOTHER:
                raise BrokerFailed(why=f"What answers at {address.where} does not hold the broker's key.")
            else:
                raise BrokerFailed(why=f"The broker does not answer at {address.where}.")
    raise BrokerFailed(why=f"The broker at {address.where} did not answer in time: it is stuck, or very busy.")
