"""``securechat-broker``: options, logging and signals."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import signal
import socket
import sys
from pathlib import Path
from typing import Final

import click

from core.errors import BrokerFailed, SecureChatError
from core.places import ConnectionFile, default_data_dir

log = logging.getLogger("broker")

DEFAULT_PORT: Final = 12345


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--host", default="0.0.0.0", show_default=True, help="Address to listen on.")  # noqa: S104 - the access rule guards it
@click.option(
    "--port", default=DEFAULT_PORT, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 picks a free one."
)
@click.option(
    "--data", type=click.Path(path_type=Path), help="Folder for the key and the connection file.  [default: the state folder]"
)
@click.option("--open", "open_to_all", is_flag=True, help="Let other machines in; without it, only this one.")
@click.option("-v", "--verbose", is_flag=True, help="Log more.")
def main(host: str, port: int, data: Path | None, open_to_all: bool, verbose: bool) -> None:
    """Run the SecureChat broker: it routes encrypted messages by username and can read none of them.

    It logs to standard error and stops on Ctrl-C or SIGTERM. Local clients find it by themselves.
    """
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, format="%(levelname)s:%(name)s:%(message)s")
    try:
        serve(host, port, data or default_data_dir(), open_to_all=open_to_all)
    except SecureChatError as error:
        click.echo(f"error: {error}", err=True)
        if error.advice:
            click.echo(f"hint: {error.advice}", err=True)
        sys.exit(1)


def serve(host: str, port: int, data: Path, *, open_to_all: bool) -> None:
    """Run a broker until a signal stops it; raises BrokerFailed."""
    import zmq
    from zmq.utils import z85

    from broker.access import Access
    from broker.files import connection_file, data_folder, load_or_make_keys
    from broker.server import CurveKeys, Server

    def make_keys() -> CurveKeys:
        public, secret = zmq.curve_keypair()
        return CurveKeys(z85.decode(public), z85.decode(secret))

    _raise_file_limit()
    number = _resolve(host)
    with data_folder(data) as folder:
        keys = load_or_make_keys(folder, make_keys)
        server = Server(number, port, keys=keys, access=Access(open_to_all))
        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, lambda *_: server.stop())
        local = "127.0.0.1" if number in ("0.0.0.0", "::") else number  # noqa: S104 - compared, not bound
        content = ConnectionFile.describe(local, server.port, keys.public, os.getpid())
        try:
            with connection_file(folder, content) as found:
                log.info("Server listening on %s:%d", host, server.port)
                _tell(content, number, found=found, open_to_all=open_to_all)
                server.run()
        finally:
            server.close()
    log.info("Server stopped")


def _tell(content: ConnectionFile, number: str, *, found: bool, open_to_all: bool) -> None:
    if open_to_all:
        others = content.address.at(_outward_address() if number in ("0.0.0.0", "::") else number)  # noqa: S104
        log.info("Other machines connect to %s", others.url)
    else:
        log.info("Only this machine is let in; --open lets others in")
    if found:
        log.info("Clients of this user on this machine find it by themselves; its address is %s", content.url)
    else:
        log.info("Clients do not find it by themselves, so name it to them: --broker %s", content.url)


def _resolve(host: str) -> str:
    try:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except (OSError, UnicodeError) as error:  # the second: no form that a host's name can have
        raise BrokerFailed(why=f"The host {host} is not known; give --host an address of this machine.") from error


def _outward_address() -> str:
    """The address by which this machine would speak to others. Connecting a datagram socket sends nothing."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
    return socket.gethostname()


def _raise_file_limit() -> None:
    """Every client takes a file descriptor, and the usual soft limit of 1,024 is few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    main()
