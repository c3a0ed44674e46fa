"""``invite``, ``invites``, ``revoke``, ``users`` and ``release``: who may come in, and who holds which name."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from broker.options import on_folder

DEFAULT_PORT: Final = 12345


@click.command()
@click.option(
    "--uses", metavar="N", default=1, show_default=True, type=click.IntRange(1, 10_000), help="How many may come in by it."
)
@click.option(
    "--days", metavar="N", default=7, show_default=True, type=click.IntRange(1, 3650), help="How long it lets somebody new in."
)
@click.option("--host", metavar="ADDRESS", help="The broker's address as others see it.  [default: this machine's]")
@on_folder
def invite(folder: Path, /, uses: int, days: int, host: str | None) -> None:
    """Make an invite and print it: a securechat:// line with a secret in it, for somebody on another machine.

    Whoever has the line can use it, so send it over a channel you trust.

    \b
    securechat-broker invite
    securechat-broker invite --uses 5 --days 30 --host chat.example.org
    """
    from broker import admin
    from broker.binding import outward_address

    line, name = admin.make_invite(folder, uses, days * 86_400, outward_address() if host is None else host, DEFAULT_PORT)
    click.echo(line)
    click.echo(
        f"good for {uses} until {day(time.time() + days * 86_400)}; revoke it with: securechat-broker revoke {name}", err=True
    )
    running = admin.listening(folder)
    if running and running.is_local and host is None:
        click.echo(
            f"warning: the broker listens on {running.host} only, where no other machine reaches it; start it without --host",
            err=True,
        )


@click.command()
@on_folder
def invites(folder: Path, /) -> None:
    """List the invites.

    \b
    securechat-broker invites
    """
    from broker import admin

    for key, one in admin.read_ledger(folder).invites():
        state = "revoked" if one.revoked else f"used {one.used} of {one.uses}, until {day(one.expires)}"
        click.echo(f"{admin.invite_name(key)}  {state}")


@click.command()
@click.argument("name")
@on_folder
def revoke(folder: Path, /, name: str) -> None:
    """Stop an invite from letting anybody new in; NAME is what 'invites' lists.

    \b
    securechat-broker revoke 3b4f43fc
    """
    from broker import admin

    admin.revoke(folder, name)
    click.echo(f"invite {name} is revoked", err=True)


@click.command()
@on_folder
def users(folder: Path, /) -> None:
    """List the names that profiles hold, with their keys' fingerprints.

    \b
    securechat-broker users
    """
    from broker import admin
    from core.encoding import from_b64url
    from core.names import short_fingerprint

    for owner in admin.read_ledger(folder).owners():
        click.echo(f"{owner.user:32}  {short_fingerprint(from_b64url(owner.kid))}  since {day(owner.at)}")


@click.command()
@click.argument("name")
@on_folder
def release(folder: Path, /, name: str) -> None:
    """Take NAME from the profile that holds it, so that another can claim it. Its peers will see a changed key.

    The mail that waits for it and the files that its key has stored are deleted.

    \b
    securechat-broker release carol
    """
    from broker import admin

    admin.release(folder, name)
    click.echo(f"{name} is released; a broker that runs gives it away within a second", err=True)


def day(when: float) -> str:
    """A moment (seconds since 1970) as people here write it."""
    return datetime.fromtimestamp(when, UTC).astimezone().strftime("%Y-%m-%d %H:%M")
