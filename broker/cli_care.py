"""``health``, ``stats``, ``backup`` and ``restore``: looking after a broker and its data folder."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from broker.cli_admin import day
from broker.options import Folder, on_folder

if TYPE_CHECKING:
    from broker.stats import Files, Stats, Waiting

_TIMEOUT: Final = 5.0
_UNITS: Final = ("bytes", "KiB", "MiB", "GiB", "TiB")


@click.command()
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(0.1, 600),
    default=_TIMEOUT,
    show_default=True,
    help="How long to wait.",
)
@on_folder
def health(folder: Path, /, timeout: float) -> None:
    """Say whether the broker answers.

    It is asked as a client would ask it; the exit code is 0 if it answers, and holds its key where it lets this machine in
    without an invite, else 1.

    \b
    securechat-broker health
    securechat-broker health --timeout 30 || echo 'it is down'
    """
    from broker.health import check_health

    click.echo(f"the broker answers at {check_health(folder, timeout).where}")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@on_folder
def stats(folder: Path, /, as_json: bool) -> None:
    """Show what is on disk, and what waits for whom.

    Profiles, invites, files, and the mail that waits for each user; who is here now, only the metrics tell. It works whether
    the broker runs or not, and changes nothing.

    \b
    securechat-broker stats
    securechat-broker stats --json | jq .mail.messages
    """
    from broker.stats import read_stats

    found = read_stats(folder, time.time())
    if as_json:
        click.echo(json.dumps(_stats_json(folder, found)))
        return
    total = found.total
    used = ", ".join(f"{name} {_size(size)}" for name, size in found.disk.items())
    rows = {
        "folder": str(folder),
        "broker": f"runs, and listens on {found.running.address.where}" if found.running else "does not run",
        "profiles": str(len(found.waiting)),
        "invites": f"{found.invites_open} open",
        "mail": _mail(total),
        "files": _files(found.files),
        "receipts": f"{total.receipts} not fetched by their senders",
        "disk": f"{used}; {_size(found.free)} free",
    }
    for name, value in rows.items():
        click.echo(f"{name:10}{value}")
    for user, one in found.waiting.items():
        if one.copies:
            click.echo(f"{'for':10}{user}: {_mail(one)}")


def _mail(waiting: Waiting) -> str:
    if waiting.oldest is None:
        return "none waits"
    what = "1 message waits" if waiting.copies == 1 else f"{waiting.copies} messages wait"
    return f"{what}, {_size(waiting.bytes)}, since {day(waiting.oldest)}"


def _files(files: Files) -> str:
    if not files.count:
        return "none are kept"
    what = "1 is kept" if files.count == 1 else f"{files.count} are kept"
    return f"{what}, {_size(files.bytes)}; {files.unfinished} of them not whole yet"


def _size(count: int) -> str:
    value, unit = float(count), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.1f} {_UNITS[unit]}" if unit else f"{count} {_UNITS[0]}"


def _stats_json(folder: Path, found: Stats) -> dict[str, Any]:
    from core.encoding import b64url

    return {
        "v": 1,
        "type": "stats",
        "folder": str(folder),
        "running": found.running is not None,
        "url": found.running.url if found.running else None,
        "key": b64url(found.key),
        "profiles": len(found.waiting),
        "invites_open": found.invites_open,
        "mail": _waiting_json(found.total),
        "files": {"count": found.files.count, "bytes": found.files.bytes, "unfinished": found.files.unfinished},
        "disk": {**found.disk, "free": found.free},
        "users": {user: _waiting_json(one) for user, one in found.waiting.items()},
    }


def _waiting_json(waiting: Waiting) -> dict[str, Any]:
    oldest = None if waiting.oldest is None else datetime.fromtimestamp(waiting.oldest, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"messages": waiting.copies, "bytes": waiting.bytes, "oldest": oldest, "receipts": waiting.receipts}


@click.command()
@click.argument("to", metavar="FOLDER", type=Folder())
@on_folder
def backup(folder: Path, /, to: Path) -> None:
    """Copy the databases, the files of users and the key to FOLDER.

    It works while the broker runs, too. FOLDER must be new: it is made whole or not at all, and nothing is overwritten. It
    holds the broker's secret key, so keep it as safe as the data folder. 'restore' puts back what is in it.

    \b
    securechat-broker backup /var/backups/securechat/$(date +%F)
    """
    from broker.backup import back_up

    back_up(folder, to)
    click.echo(f"backed up to {to}; put it back with: securechat-broker --data EMPTY_FOLDER restore {to}", err=True)


@click.command()
@click.argument("source", metavar="FOLDER", type=Folder())
@on_folder
def restore(folder: Path, /, source: Path) -> None:
    """Put the backup FOLDER back into an empty folder.

    That is the data folder (--data), on which no broker may run. The broker is then as it was when the backup was made:
    what came later is lost to it.

    \b
    securechat-broker restore --data /srv/chat /var/backups/securechat/2026-11-23
    """
    from broker.backup import restore as put_back

    put_back(source, folder)
    click.echo(f"restored into {folder}", err=True)
