"""Running the broker: its files, its sockets, its signals, and what it says when it starts."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import BrokerFailed
from core.places import EVERYWHERE, ConnectionFile

if TYPE_CHECKING:
    from broker.blob_storage import BlobDisk
    from broker.mail_storage import SqliteMailStorage
    from broker.quota import Quota
    from broker.router import Router
    from broker.storage import SqliteStorage

log = logging.getLogger("broker")


def serve(host: str, port: int, data: Path, *, open_to_all: bool, quota: Quota, rate: int, metrics: int | None) -> None:
    """Run a broker until a signal stops it; raises BrokerFailed. ``metrics`` is the port for its numbers, if any."""
    from broker.blob_storage import BlobDisk
    from broker.files import connection_file, data_folder, load_or_make_keys
    from broker.ledger import Ledger
    from broker.mail_storage import SqliteMailStorage
    from broker.server import Server
    from broker.storage import SqliteStorage

    _raise_file_limit()
    number = _resolve(host)
    with (
        data_folder(data) as folder,
        contextlib.closing(SqliteStorage(folder)) as storage,
        contextlib.closing(SqliteMailStorage(folder)) as mail,
        contextlib.closing(BlobDisk(folder)) as blobs,
    ):
        keys = load_or_make_keys(folder)
        server = Server(
            number,
            port,
            keys=keys,
            ledger=Ledger(),
            storage=storage,
            mail=mail,
            blobs=blobs,
            quota=quota,
            rate=rate,
            open_to_all=open_to_all,
        )
        storage.start(server.wake)
        mail.start(server.wake)
        blobs.start(server.wake)
        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, lambda *_: server.stop())
        content = ConnectionFile.describe(number, server.port, keys.public, os.getpid())
        try:
            with (
                _numbers(metrics, server.router, storage, mail, blobs) as given,
                connection_file(folder, content) as found,
            ):
                log.info("Server listening on %s:%d", host, server.port)
                _tell(content, number, found=found, open_to_all=open_to_all)
                if given is not None:
                    log.info("Metrics are at http://127.0.0.1:%d/metrics", given)
                server.run()
        finally:
            server.close()
    log.info("Server stopped")


@contextlib.contextmanager
def _numbers(
    port: int | None, router: Router, storage: SqliteStorage, mail: SqliteMailStorage, blobs: BlobDisk
) -> Iterator[int | None]:
    """Give the broker's numbers at a port, which is yielded; none where none was asked for."""
    if port is None:
        yield None
        return
    from broker.metrics import Numbers, metrics_at

    failing = {"names": lambda: storage.failing, "mail": lambda: mail.failing, "blobs": lambda: blobs.failing}
    with metrics_at(port, Numbers(router, failing)) as given:
        yield given


def _tell(content: ConnectionFile, number: str, *, found: bool, open_to_all: bool) -> None:
    from broker.binding import outward_address

    if open_to_all:
        others = content.address.at(outward_address() if number in EVERYWHERE else number)
        log.info("Other machines connect to %s", others.url)
    else:
        log.info("Only this machine is let in, and who is invited: securechat-broker invite")
    if found:
        log.info("Clients of this user on this machine find it by themselves; its address is %s", content.url)
    else:
        log.info("Clients do not find it by themselves, so name it to them: --broker %s", content.url)


def _resolve(host: str) -> str:
    try:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except (OSError, UnicodeError) as error:  # the second: no form that a host's name can have
        raise BrokerFailed(why=f"The host {host} is not known; give --host an address of this machine.") from error


def _raise_file_limit() -> None:
    """Every client takes a file descriptor, and the usual soft limit of 1,024 is few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
