"""``securechat-broker``: options, logging and signals."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import click
from click.core import ParameterSource

from broker import cli_admin, cli_care
from broker.cli_admin import DEFAULT_PORT
from broker.cli_serve import serve
from broker.options import Folder, duration, size_option
from broker.quota import Quota
from core.errors import SecureChatError
from core.places import EVERYWHERE, default_data_dir
from core.version import VERSION

_F = TypeVar("_F", bound=Callable[..., Any])
_EXITS: Final = "Exit codes: 0 well, or told to stop · 1 it failed, or what was looked at is not well · 2 usage · 130 Ctrl-C"

_OPTIONS: Final = (
    click.option("--host", metavar="ADDRESS", default=EVERYWHERE[0], show_default=True, help="Address to listen on."),
    click.option(
        "--port", default=DEFAULT_PORT, show_default=True, type=click.IntRange(0, 65535), metavar="PORT", help="Port; 0 is any."
    ),
    click.option(
        "--data",
        metavar="FOLDER",
        type=Folder(),
        help="Folder for the key, the databases and the connection file.  [default: the state folder]",
    ),
    click.option("--open", "open_to_all", is_flag=True, help="Let everybody in; without it, this machine and who is invited."),
    click.option(
        "--retention",
        type=duration("1m", "31d", ", for clients refuse what is older than 31 days"),
        default="30d",
        show_default=True,
        help="How long mail waits for a profile that is away, and files are kept: a number with s, m, h or d.",
    ),
    click.option(
        "--quota-messages",
        metavar="N",
        type=click.IntRange(1, 10_000_000),
        default=100_000,
        show_default=True,
        help="How many messages may wait for one profile.",
    ),
    size_option("--quota-bytes", "256M", "1M", "1024G", "How many bytes may wait for one profile"),
    size_option("--files-each-user", "4G", "1M", "1024G", "How many bytes of files may be kept for one user"),
    size_option("--files", "64G", "1M", "1048576G", "How many bytes of files may be kept in all"),
    click.option(
        "--rate",
        metavar="N",
        type=click.IntRange(0, 1_000_000),
        default=1_000,
        show_default=True,
        help="How many messages a second each user may send, and ten times that at once; 0 is any number.",
    ),
    click.option(
        "--metrics",
        metavar="PORT",
        type=click.IntRange(0, 65535),
        help="Give numbers to Prometheus at this port of 127.0.0.1; 0 is any.  [default: none]",
    ),
    click.option("-v", "--verbose", is_flag=True, help="Log more."),
)


def _served(command: _F) -> _F:
    """Give a command all that can be said of a broker that is to run."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.group(invoke_without_command=True, epilog=_EXITS, context_settings={"help_option_names": ["-h", "--help"]})
@_served
@click.version_option(VERSION, message="%(prog)s %(version)s", help="Show the version.")
@click.pass_context
def cli(context: click.Context, /, **options: Any) -> None:
    """Run the SecureChat broker: it routes encrypted messages by username and can read none of them.

    It logs to standard error and stops on Ctrl-C or SIGTERM. Local clients find it by themselves. The commands work on
    the same folder, also while it runs.

    \b
    securechat-broker
    securechat-broker --host 192.0.2.7 --data /srv/chat
    securechat-broker invite --uses 5
    """
    context.obj = options["data"] or default_data_dir()
    if context.invoked_subcommand is None:
        _serve(**options)


@cli.command("serve")
@_served
@click.pass_context
def serve_(context: click.Context, /, **options: Any) -> None:
    """Run the broker, as 'securechat-broker' does without a command. Options may stand before 'serve' or behind it.

    \b
    securechat-broker serve --open --retention 7d
    """
    before = context.parent.params if context.parent else {}
    default = ParameterSource.DEFAULT
    _serve(**{name: before[name] if context.get_parameter_source(name) is default else options[name] for name in options})


def _serve(
    *,
    host: str,
    port: int,
    data: Path | None,
    open_to_all: bool,
    retention: int,
    quota_messages: int,
    quota_bytes: int,
    files_each_user: int,
    files: int,
    rate: int,
    metrics: int | None,
    verbose: bool,
) -> None:
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, format="%(levelname)s:%(name)s:%(message)s")
    quota = Quota(quota_messages, quota_bytes, retention, files_each_user, files)
    serve(host, port, data or default_data_dir(), open_to_all=open_to_all, quota=quota, rate=rate, metrics=metrics)


# The line of each in the list of commands: there is no room for the first sentence of its help.
for _command, _line in (
    (serve_, "Run the broker, as without a command"),
    (cli_admin.invite, "Make an invite, and print its securechat:// line"),
    (cli_admin.invites, "List the invites"),
    (cli_admin.revoke, "Stop an invite from letting anybody new in"),
    (cli_admin.users, "List the names that profiles hold"),
    (cli_admin.release, "Take a name from the profile that holds it"),
    (cli_care.health, "Say whether the broker answers"),
    (cli_care.stats, "Show what is on disk, and what waits for whom"),
    (cli_care.backup, "Copy all that the broker keeps into a new folder"),
    (cli_care.restore, "Put a backup back into an empty folder"),
):
    _command.short_help, _command.epilog = _line, _EXITS
    cli.add_command(_command)


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
    except OSError as error:
        if error.filename is not None:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is tried again on the way out
        click.echo(f"error: Standard output cannot be written: {error.strerror}.", err=True)
        sys.exit(1)
    except SecureChatError as error:
        click.echo(f"error: {error}", err=True)
        if error.advice:
            click.echo(f"hint: {error.advice}", err=True)
        sys.exit(1)
    sys.exit(0)


if __name__ == "__main__":
    main()
