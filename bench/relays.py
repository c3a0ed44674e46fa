"""What moves the messages, one kind a process: ``python -m bench.relays KIND curve|plain [OWNERS]``.

OWNERS (JSON) are the profiles that the broker knows: their names, and the ids of their identity keys (b64u). Prints its
ports and its CURVE key as one line of JSON, and ends when its standard input does.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import zmq
from zmq.utils import z85

_QUEUE: Final = 20_000


def main() -> None:
    kind, mechanism, *owners = sys.argv[1:]
    public, made = zmq.curve_keypair()
    secret = made if mechanism == "curve" else None
    if kind == "broker":
        _broker(public, secret, json.loads(owners[0]) if owners else {})
    else:
        {"proxy": _proxy, "textbook": _textbook}[kind](public, secret)


def _broker(public: bytes, secret: bytes | None, owners: dict[str, str]) -> None:
    """The broker itself. Only its way to be told to stop differs from ``securechat-broker``."""
    from broker.blob_storage import BlobDisk
    from broker.curve import CurveKeys
    from broker.ledger import Claimed, Ledger
    from broker.mail_storage import SqliteMailStorage
    from broker.server import Server
    from broker.storage import SqliteStorage

    ledger = Ledger()
    for user, kid in owners.items():
        ledger.apply(Claimed(user, kid, kid, None, 0))
    keys = CurveKeys(z85.decode(public), z85.decode(secret)) if secret else None
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.closing(SqliteStorage(Path(folder))) as storage,
        contextlib.closing(SqliteMailStorage(Path(folder))) as mail,
        contextlib.closing(BlobDisk(Path(folder))) as blobs,
    ):
        server = Server("127.0.0.1", 0, keys=keys, ledger=ledger, storage=storage, mail=mail, blobs=blobs)
        storage.start(server.wake)
        mail.start(server.wake)
        blobs.start(server.wake)
        signal.signal(signal.SIGTERM, lambda *_: server.stop())
        _end_with_input(server.stop)
        _say(server.port, server.port, public if secret else None)
        server.run()


def _proxy(public: bytes, secret: bytes | None) -> None:
    """libzmq's own proxy, in C, between two ROUTERs: a message goes to the client with its sender's routing id."""
    front, back = _two_routers(public, secret)
    zmq.proxy(front, back)


def _textbook(public: bytes, secret: bytes | None) -> None:
    """The same in Python as tutorials have it."""
    front, back = _two_routers(public, secret)
    poller = zmq.Poller()
    poller.register(front, zmq.POLLIN)
    poller.register(back, zmq.POLLIN)
    while True:
        ready = dict(poller.poll())
        if front in ready:
            back.send_multipart(front.recv_multipart())
        if back in ready:
            front.send_multipart(back.recv_multipart())


def _two_routers(public: bytes, secret: bytes | None) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes]]:
    context = zmq.Context()
    sockets, ports = [], []
    for _ in range(2):
        sock = context.socket(zmq.ROUTER)
        sock.sndhwm = sock.rcvhwm = _QUEUE
        sock.linger = 0
        sock.router_mandatory = True
        if secret:
            sock.curve_server = True
            sock.curve_secretkey = secret
        ports.append(sock.bind_to_random_port("tcp://127.0.0.1"))
        sockets.append(sock)
    _end_with_input(lambda: os._exit(0))
    _say(ports[0], ports[1], public if secret else None)
    return sockets[0], sockets[1]


def _end_with_input(end: Callable[[], None]) -> None:
    def wait() -> None:
        while os.read(0, 1):  # below Python's own buffer, whose lock would keep the interpreter from ending
            pass
        end()

    threading.Thread(target=wait, daemon=True).start()


def _say(front: int, back: int, key: bytes | None) -> None:
    print(json.dumps({"front": front, "back": back, "key": key.decode("ascii") if key else None}), flush=True)


if __name__ == "__main__":
    main()
