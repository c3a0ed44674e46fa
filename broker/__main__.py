"""``securechat-broker``: options, logging and signals."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import signal
import socket
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NoReturn

import click

from broker.options import duration, size
from broker.quota import Quota
from core.errors import BrokerFailed, SecureChatError
from core.places import ConnectionFile, default_data_dir

log = logging.getLogger("broker")

DEFAULT_PORT: Final = 12345
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
@click.option(
    "--retention",
    type=duration("1m", "31d", ", for clients refuse what is older than 31 days"),
    default="30d",
    show_default=True,
    help="How long mail waits for a profile that is away: a number with s, m, h or d.",
)
@click.option(
    "--quota-messages",
    type=click.IntRange(1, 10_000_000),
    default=100_000,
    show_default=True,
    help="How many messages may wait for one profile.",
)
@click.option(
    "--quota-bytes",
    type=size("1M", "1024G"),
    default="256M",
    show_default=True,
    help="How many bytes may wait for one profile: a number with K, M or G.",
)
@click.option(
    "--rate",
    type=click.IntRange(0, 1_000_000),
    default=1_000,
    show_default=True,
    help="How many messages a second each user may send, and ten times that at once; 0 is any number.",
)
@click.option("-v", "--verbose", is_flag=True, help="Log more.")
@click.pass_context
def cli(
    context: click.Context,
    /,
    host: str,
    port: int,
    data: Path | None,
    open_to_all: bool,
    retention: int,
    quota_messages: int,
    quota_bytes: int,
    rate: int,
    verbose: bool,
) -> None:
    """Run the SecureChat broker: it routes encrypted messages by username and can read none of them.

    It logs to standard error and stops on Ctrl-C or SIGTERM. Local clients find it by themselves. The commands work on
    the same folder, also while it runs.
    """
    context.obj = data or default_data_dir()
    if context.invoked_subcommand is None:
        logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, format="%(levelname)s:%(name)s:%(message)s")
        quota = Quota(quota_messages, quota_bytes, retention)
        serve(host, port, context.obj, open_to_all=open_to_all, quota=quota, rate=rate)


@cli.command()
@click.option("--uses", default=1, show_default=True, type=click.IntRange(1, 10_000), help="How many may come in by it.")
@click.option("--days", default=7, show_default=True, type=click.IntRange(1, 3650), help="How long it lets somebody new in.")
@click.option("--host", help="The broker's address as others see it.  [default: this machine's]")
@click.pass_obj
def invite(folder: Path, /, uses: int, days: int, host: str | None) -> None:
    """Make an invite and print it: a securechat:// line with a secret in it, for somebody on another machine.

    Whoever has the line can use it, so send it over a channel you trust.
    """
    from broker import admin

    line, name = admin.make_invite(folder, uses, days * 86_400, host or _outward_address(), DEFAULT_PORT)
    click.echo(line)
    click.echo(
        f"good for {uses} until {_day(time.time() + days * 86_400)}; revoke it with: securechat-broker revoke {name}", err=True
    )


@cli.command()
@click.pass_obj
def invites(folder: Path, /) -> None:
    """List the invites."""
    from broker import admin

    for key, one in admin.read_ledger(folder).invites():
        state = "revoked" if one.revoked else f"used {one.used} of {one.uses}, until {_day(one.expires)}"
        click.echo(f"{admin.invite_name(key)}  {state}")


@cli.command()
@click.argument("name")
@click.pass_obj
def revoke(folder: Path, /, name: str) -> None:
    """Stop an invite from letting anybody new in; NAME is what 'invites' lists."""
    from broker import admin

    admin.revoke(folder, name)
    click.echo(f"invite {name} is revoked", err=True)


@cli.command()
@click.pass_obj
def users(folder: Path, /) -> None:
    """List the names that profiles hold, with their keys' fingerprints."""
    from broker import admin
    from core.encoding import from_b64url
    from core.names import short_fingerprint

    for owner in admin.read_ledger(folder).owners():
        click.echo(f"{owner.user:32}  {short_fingerprint(from_b64url(owner.kid))}  since {_day(owner.at)}")


@cli.command()
@click.argument("name")
@click.pass_obj
def release(folder: Path, /, name: str) -> None:
    """Take NAME from the profile that holds it, so that another can claim it. Its peers will see a changed key."""
    from broker import admin

    admin.release(folder, name)
    click.echo(f"{name} is free", err=True)


def serve(host: str, port: int, data: Path, *, open_to_all: bool, quota: Quota, rate: int) -> None:
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
        server = Server(
            number,
            port,
            keys=keys,
            ledger=Ledger(),
            storage=storage,
            mail=mail,
            quota=quota,
            rate=rate,
            open_to_all=open_to_all,
        )
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
    if open_to_all:
        others = content.address.at(_outward_address() if number in _ALL else number)
        log.info("Other machines connect to %s", others.url)
    else:
        log.info("Only this machine is let in, and who is invited: securechat-broker invite")
    if found:
        log.info("Clients of this user on this machine find it by themselves; its address is %s", content.url)
    else:
        log.info("Clients do not find it by themselves, so name it to them: --broker %s", content.url)


def _day(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).astimezone().strftime("%Y-%m-%d %H:%M")


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
