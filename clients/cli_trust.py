"""``init``, ``verify``, ``trust``, ``block`` and ``key``: who I am, and who others are."""

from __future__ import annotations

import contextlib
import hmac
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from clients.cli_completion import complete_peer
from clients.cli_help import Command
from clients.cli_settings import (
    broker_for,
    home_of,
    merge,
    open_profile,
    read_passphrase,
    shared_options,
    warn_if_others_can_read,
)
from clients.cli_values import Place
from clients.exits import ABSENT, ALWAYS, NETWORK, UNLOCKING, UNTRUSTED
from clients.terminal import Terminal, strong
from clients.view import whole_fingerprint
from core import errors
from core.address import BrokerAddress
from core.names import check_name, fingerprint, normalise_name, short_fingerprint
from core.rsa import SigningKey

if TYPE_CHECKING:
    from clients.others import Others
    from core.memory import Pin

_GUESTS: Final = "a guest decides where it talks: /{word} {peer} in 'securechat-cli chat', or on the page"


@click.command(cls=Command, exits=ALWAYS | {NETWORK, UNTRUSTED, ABSENT})
@click.argument("name")
@click.option("--invite", metavar="-", help="'-' reads the invite's securechat:// line from standard input, or asks for it.")
@click.option("--invite-file", type=Place(), help="A file that holds the invite's securechat:// line.")
@click.option("--import", "key_file", type=Place(), help="Use this RSA-2048 private key (PEM) as identity key.")
@shared_options
@click.pass_context
def init(
    context: click.Context, /, name: str, invite: str | None, invite_file: Path | None, key_file: Path | None, **options: Any
) -> None:
    """Make the profile NAME: a long-term identity, whose name the broker keeps for its key.

    A passphrase encrypts its keys on disk; an empty one leaves them to the file's permissions.

    \b
    securechat-cli init alice
    securechat-cli init alice --invite-file invite.txt
    """
    from clients.making import make_profile

    settings = merge(context, **options)
    terminal = settings.terminal
    user, home = check_name(normalise_name(name)), home_of(settings)
    for secret in (invite_file, key_file):
        if secret is not None:
            warn_if_others_can_read(terminal, secret)
    address = _invited(invite, invite_file)
    signing = _import_key(key_file) if key_file else None
    passphrase = read_passphrase(settings, "A passphrase for its keys (empty for none)", twice=True)
    if address is None:
        with contextlib.suppress(errors.NoBrokerFound):
            address = broker_for(settings)
    profile, claimed = make_profile(home, user, passphrase, address, signing)
    with contextlib.closing(profile):
        kid = profile.keys.kid
    terminal.data(
        whole_fingerprint(user, kid),
        {"v": 1, "type": "profile", "user": user, "fingerprint": fingerprint(kid)},
    )
    if not claimed:
        which = f"The broker at {address.where} does not answer" if address else "No broker is running here"
        terminal.say(f"{which}: the name is claimed when this profile first connects to one.")
    if not passphrase:
        terminal.say("Its keys are not encrypted: whoever can read your files can read them.")


@click.command(cls=Command, exits=UNLOCKING | {UNTRUSTED, ABSENT})
@click.argument("peer", shell_complete=complete_peer)
@click.option("--number", metavar="N", help="The 60 digits that PEER reads to you; spaces do not matter.")
@click.option("--yes", is_flag=True, help="You have compared the number: mark PEER as verified.")
@shared_options
@click.pass_context
def verify(context: click.Context, /, peer: str, number: str | None, yes: bool, **options: Any) -> None:
    """Show the number to compare with PEER, and mark PEER as verified.

    Both ends show the same 60 digits if nobody sits in between. Compare them over another channel, such as a call.

    \b
    securechat-cli verify bob
    securechat-cli verify bob --number "$(cat bob.number)"
    """
    settings = merge(context, **options)
    terminal = settings.terminal
    with open_profile(settings, _GUESTS.format(word="verify", peer=peer)) as profile:
        pin = profile.others.pin(normalise_name(peer))
        shown = profile.others.number(pin)
        matches = yes
        if number is not None:
            if not re.fullmatch(r"(\s*[0-9]){60}\s*", number):
                raise click.UsageError("--number takes all 60 digits; spaces do not matter.")
            matches = same_number(number, shown)
            if not matches:
                raise errors.NumbersDiffer(user=pin.user, me=profile.user)
        else:
            show_number(terminal, profile.user, pin.user, shown, changed=pin.offered is not None)
            if not yes and not settings.no_input and sys.stdin is not None and sys.stdin.isatty() and not settings.as_json:
                matches = click.confirm(f"Does {pin.user} see the same number?", default=False, err=True)
                if not matches:
                    terminal.warn(f"{pin.user} is not verified")
                    sys.exit(UNTRUSTED)
        if matches:
            _decided(terminal, profile.others.verify(pin), f"{pin.user} is verified ✓", profile.others)


@click.command(cls=Command, exits=UNLOCKING | {ABSENT})
@click.argument("peer", shell_complete=complete_peer)
@shared_options
@click.pass_context
def trust(context: click.Context, /, peer: str, **options: Any) -> None:
    """Accept the key that PEER uses now, and end a block.

    Compare numbers first ('verify'), unless you know why the key is another one.

    \b
    securechat-cli trust bob
    """
    settings = merge(context, **options)
    with open_profile(settings, _GUESTS.format(word="trust", peer=peer)) as profile:
        after, said = accept(profile.others, normalise_name(peer))
        _decided(settings.terminal, after, said, profile.others)


def accept(others: Others, peer: str) -> tuple[Pin, str]:
    """Accept the key that somebody uses now, and end a block; returns what is so now, and in words what that changed."""
    before = others.pin(peer)
    after = others.trust(before)
    if after == before:
        return after, f"{after.user} has the key you know: {short_fingerprint(after.kid)}"
    if after.kid != before.kid:
        return after, f"{after.user} is now known by {short_fingerprint(after.kid)}; verify it when you can"
    return after, f"{after.user} is no longer blocked"


def _decided(terminal: Terminal, pin: Pin, said: str, others: Others) -> None:
    terminal.say(said)
    if terminal.as_json:
        trust, kid = others.standing(pin.user).value, fingerprint(pin.kid)
        terminal.data("", {"v": 1, "type": "peer", "user": pin.user, "fingerprint": kid, "trust": trust})


def same_number(typed: str, shown: str) -> bool:
    """Whether these are the same digits, however they are set apart."""
    return hmac.compare_digest("".join(typed.split()).encode(), shown.replace(" ", "").encode())


@click.command(cls=Command, exits=UNLOCKING | {ABSENT})
@click.argument("peer", shell_complete=complete_peer)
@shared_options
@click.pass_context
def block(context: click.Context, /, peer: str, **options: Any) -> None:
    """Send nothing to PEER, and take nothing from them, until 'trust' ends it. They are not told.

    \b
    securechat-cli block mallory
    """
    settings = merge(context, **options)
    with open_profile(settings, _GUESTS.format(word="block", peer=peer)) as profile:
        pin = profile.others.block(normalise_name(peer))
        said = f"{pin.user} is blocked; undo it with: securechat-cli trust {pin.user}"
        _decided(settings.terminal, pin, said, profile.others)


@click.command(cls=Command, exits=UNLOCKING)
@shared_options
@click.pass_context
def key(context: click.Context, /, **options: Any) -> None:
    """Print this profile's fingerprint and its public keys as PEM: first the identity key, then the encryption key.

    \b
    securechat-cli key
    securechat-cli key --json | jq -r .encryption_key > alice.pem
    """
    settings = merge(context, **options)
    with open_profile(settings) as profile:
        ik, ek = profile.keys.signing.public, profile.keys.keys[-1].key.public
        settings.terminal.data(
            f"{whole_fingerprint(profile.user, ik.kid)}\n{ik.pem}{ek.pem}".rstrip("\n"),
            {
                "v": 1,
                "type": "key",
                "user": profile.user,
                "fingerprint": fingerprint(ik.kid),
                "identity_key": ik.pem,
                "encryption_key": ek.pem,
            },
        )


def _invited(invite: str | None, invite_file: Path | None) -> BrokerAddress | None:
    if invite is None and invite_file is None:
        return None
    if invite is not None and (invite != "-" or invite_file is not None):
        raise click.UsageError("Give '--invite -' to be asked for the invite, or --invite-file FILE: others can read flags.")
    if invite_file is not None:
        try:
            text = invite_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise click.UsageError(f"The invite cannot be read from {invite_file}: {error}") from None
    elif sys.stdin is not None and sys.stdin.isatty():
        text = click.prompt("The invite's line", hide_input=True, err=True)
    else:
        text = sys.stdin.read(4096) if sys.stdin else ""
    address = BrokerAddress.parse(text)
    if address.invite is None:
        raise errors.BadAddress(why="it holds no invite")
    return address


def _import_key(path: Path) -> SigningKey:
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise click.UsageError(f"The key cannot be read from {path}: {error.strerror}") from None
    return SigningKey.from_pem(pem)


def show_number(terminal: Terminal, me: str, peer: str, number: str, *, changed: bool) -> None:
    """Print a number to compare, ``changed`` if it is for a key that is not the pinned one."""
    groups = number.split()
    rows = ["    " + " ".join(groups[at : at + 4]) for at in range(0, len(groups), 4)]
    which = " (for the key that they use now)" if changed else ""
    terminal.data(
        f"{strong(f'{me} and {peer}')}{which}\n\n{_with_code(terminal, rows, number)}\n",
        {"v": 1, "type": "number", "user": me, "peer": peer, "number": number.replace(" ", ""), "changed": changed},
    )


def _with_code(terminal: Terminal, rows: list[str], number: str) -> str:
    """The number's rows and, where a terminal has room for it, the same number as a QR code: beside them, or else below."""
    from clients.qr import qr_lines

    columns = terminal.columns
    code = qr_lines(number) if columns else []
    wide, narrow = len(rows[0]) + 4, max(map(len, code), default=0)
    if not code or narrow > columns or not terminal.can_print("".join(code)):
        return "\n".join(rows)
    drawn = [click.style(line, fg="bright_white", bg="black") for line in code]
    if wide + narrow > columns:
        return "\n".join([*rows, "", *drawn])
    above = (len(code) - len(rows)) // 2
    left = [*[""] * above, *rows, *[""] * (len(code) - len(rows) - above)]
    return "\n".join(f"{row:{wide}}{line}" for row, line in zip(left, drawn, strict=True))
