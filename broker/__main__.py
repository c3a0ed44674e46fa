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
from typing import Any, Final, NoReturn

import click

from broker import cli_admin, cli_care
from broker.cli_admin import DEFAULT_PORT
from core.errors import BrokerFailed, SecureChatError
from core.places import ConnectionFile, default_data_dir

log = logging.getLogger("broker")

_ALL: Final = ("0.0.0.0", "::")  # noqa: S104 - compared; what is bound is chosen by --host and guarded by ZAP

_data = click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Folder for the key, the log and the connection file.  [default: the state folder]",
)


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--host", default=_ALL[0], show_default=True, help="Address to listen on.")
@click.option("--port", default=DEFAULT_PORT, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 is any.")
@_data
@click.option("--open", "open_to_all", is_flag=True, help="Let everybody in; without it, this machine and who is invited.")
@click.option("-v", "--verbose", is_flag=True, help="Log more.")
@click.pass_context
def cli(context: click.Context, /, host: str, port: int, data: Path | None, open_to_all: bool, verbose: bool) -> None:
    """Run the SecureChat broker: it routes encrypted messages by username and can read none of them.

    It logs to standard error and stops on Ctrl-C or SIGTERM. Local clients find it by themselves. The commands work on
    the same folder, also while it runs.
    """
    context.obj = data or default_data_dir()
    if context.invoked_subcommand is None:
        logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, format="%(levelname)s:%(name)s:%(message)s")
        serve(host, port, context.obj, open_to_all=open_to_all)


for _command in (
    cli_admin.invite,
    cli_admin.invites,
    cli_admin.revoke,
    cli_admin.users,
    cli_admin.release,
    cli_care.health,
    cli_care.stats,
    cli_care.backup,
    cli_care.restore,
):
    cli.add_command(_command)


def serve(host: str, port: int, data: Path, *, open_to_all: bool) -> None:
    """Run a broker until a signal stops it; raises BrokerFailed."""
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
    ):
        keys = load_or_make_keys(folder)
        server = Server(number, port, keys=keys, ledger=Ledger(), storage=storage, mail=mail, open_to_all=open_to_all)
        storage.start(server.wake)
        mail.start(server.wake)
        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, lambda *_: server.stop())
        content = ConnectionFile.describe("127.0.0.1" if number in _ALL else number, server.port, keys.public, os.getpid())
        try:
            with connection_file(folder, content) as found:
                log.info("Server listening on %s:%d", host, server.port)
                _tell(content, number, found=found, open_to_all=open_to_all)
                server.run()
        finally:
            server.close()
    log.info("Server stopped")


def _tell(content: ConnectionFile, number: str, *, found: bool, open_to_all: bool) -> None:
    from broker.binding import outward_address

    if open_to_all:
        others = content.address.at(outward_address() if number in _ALL else number)
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


def main(**_: Any) -> NoReturn:
    """Run; every way out is an exit code, none a traceback."""
    try:
        cli.main(prog_name="securechat-broker", standalone_mode=False)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.UsageError as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(130)
    except SecureChatError as error:
        click.echo(f"error: {error}", err=True)
        if error.advice:
            click.echo(f"hint: {error.advice}", err=True)
        sys.exit(1)
    sys.exit(0)


if __name__ == "__main__":
    main()
