"""``backup`` and ``restore``: a profile in one file."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from clients.cli_help import Command
from clients.cli_settings import home_of, merge, open_profile, read_passphrase, shared_options
from clients.cli_values import Place
from clients.exits import UNLOCKING
from clients.view import listing, whole_fingerprint
from core.encoding import b64url
from core.names import fingerprint


@click.command(cls=Command, exits=UNLOCKING)
@click.argument("file", type=Place())
@shared_options
@click.pass_context
def backup(context: click.Context, /, file: Path, **options: Any) -> None:
    """Write this profile's keys, history, pins and outbox to the new FILE.

    Other programs may use the profile meanwhile. A passphrase protects the backup as it protects the profile. Not in it are
    files that were sent or saved, and the config file.

    \b
    securechat-cli backup alice-2026-11-23.backup
    securechat-cli --passphrase-file alice.pass backup alice.backup
    """
    from clients.backup import back_up
    from core.vault import is_locked

    settings = merge(context, **options)
    terminal = settings.terminal
    if file == Path("-"):
        raise click.UsageError("A backup is written to a file, not to standard output: name one.")
    with open_profile(settings) as profile:
        user, protected = profile.user, is_locked(profile.keystore)
        back_up(profile, file)
    terminal.data(str(file), {"v": 1, "type": "backup", "user": user, "file": str(file.absolute()), "protected": protected})
    if not protected:
        terminal.warn(
            f"It is not protected, as {user} has no passphrase: whoever has this file is {user}, and reads all of it."
        )
    terminal.say(f"put it back where the profile is lost: securechat-cli restore {shlex.quote(str(file))}")


@click.command(cls=Command, exits=UNLOCKING)
@click.argument("file", type=Place())
@shared_options
@click.pass_context
def restore(context: click.Context, /, file: Path, **options: Any) -> None:
    """Put the profile in the backup FILE back, where there is none of its name.

    It is then as it was when the backup was made; what was said later is not in it. It is for a profile that is lost: two that
    are in use at once take mail from each other.

    \b
    securechat-cli restore alice-2026-11-23.backup
    """
    from clients.backup import restore as put_back

    settings = merge(context, **options)
    terminal = settings.terminal
    restored = put_back(file, home_of(settings), lambda: read_passphrase(settings, "Passphrase of the backup"))
    given_up = [b64url(one) for one in dict.fromkeys(one.id for one in restored.given_up)]
    terminal.data(
        whole_fingerprint(restored.user, restored.kid),
        {
            "v": 1,
            "type": "restored",
            "user": restored.user,
            "fingerprint": fingerprint(restored.kid),
            "protected": restored.protected,
            "dropped": given_up,
        },
    )
    if not restored.protected:
        terminal.warn("It is not protected, and the backup was not: who else had that file may have read or changed it.")
    if given_up:
        terminal.warn(
            f"It is not known what became of what waited to be sent then, so it is sent no more: {listing(given_up)}\n"
            "hint: 'securechat-cli history' shows it; send again what did not come"
        )
    terminal.say(f"{restored.user} is as it was when the backup was made")
    terminal.say("mail that was written to a newer key cannot be opened; its senders are told")
