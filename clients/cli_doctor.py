"""``doctor``: what is well on this machine, and what to do about what is not."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from clients.cli_help import Command
from clients.cli_settings import DEFAULT_TIMEOUT, Settings, guest_name, home_of, merge, named_profile, shared_options
from clients.exits import ALWAYS, OK, OTHER
from clients.terminal import faint
from clients.view import clean

if TYPE_CHECKING:
    from clients.doctor import Finding
    from core.address import BrokerAddress


@click.command(cls=Command, exits=ALWAYS, words={OK: "all is well", OTHER: "something is not"})
@shared_options
@click.pass_context
def doctor(context: click.Context, /, **options: Any) -> None:
    """Check what SecureChat needs on this machine.

    Of each thing it says that it is well, or what to do. It looks at all profiles, or at that of --profile, without unlocking
    any; at the broker that would be used; and whether that answers. Nothing is changed, and nothing sent. The exit code is 0
    if all is well, else 1.

    \b
    securechat-cli doctor
    securechat-cli doctor --profile alice
    """
    settings = merge(context, **options)
    code = OK
    for one in _findings(settings):
        if not one.ok:
            code = OTHER
        about = f"{one.check} of {one.profile}" if one.profile else one.check
        mark = faint("ok".ljust(8)) if one.ok else click.style("NOT OK".ljust(8), fg="red")
        advice = f". {one.advice}" if one.advice and not one.text.endswith(".") else f" {one.advice}"
        settings.terminal.data(
            f"{mark}{about.ljust(20)}  {clean(one.text + advice)}".rstrip(),
            {
                "v": 1,
                "type": "check",
                "check": one.check,
                "profile": one.profile,
                "ok": one.ok,
                "text": one.text,
                "advice": one.advice,
            },
        )
    sys.exit(code)


def _findings(settings: Settings) -> Iterator[Finding]:
    from clients import doctor as look
    from clients.keystore import Keystore

    yield look.check_python()
    yield look.check_libraries()
    yield look.check_terminal(sys.stdout.encoding if sys.stdout else None)
    if broken := look.check_config():
        yield broken  # what it says decides on all else
        return
    home = home_of(settings)
    yield look.check_home(home)
    guest, named = guest_name(settings), named_profile(settings)
    names = [] if guest else [named] if named else Keystore.names(home)
    for name in names:
        yield from look.check_profile(home, name)
    asked: set[BrokerAddress] = set()
    pinned = dict.fromkeys(look.pinned_broker(home, name) for name in names) or {None: None}
    for one in pinned:
        finding, address = look.find(settings.broker, os.environ, one)
        yield finding
        if address and address not in asked:
            asked.add(address)
            yield look.check_connection(address, DEFAULT_TIMEOUT)
