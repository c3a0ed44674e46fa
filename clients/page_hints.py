"""What the page advises: an error's own hint speaks to who types commands, and some that it names are not on their PATH."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from clients.discovery import find_broker
from core.address import BrokerAddress
from core.errors import BrokerUnreachable, KeyChanged, NameTaken, PeerBlocked, SecureChatError

_PORT: Final = 12345  # a broker's own, unless it is told another
_HINTS: Final[Mapping[type[SecureChatError], str]] = {
    NameTaken: "Take another name.",
    KeyChanged: "Decide above first.",
    PeerBlocked: "Unblock them above first.",
}


def advice(error: SecureChatError) -> str:
    """What to do about an error, on the page; empty where there is nothing to say."""
    if type(error) is BrokerUnreachable:
        return f"Is it running? '{cli_command()} doctor' tells more."
    return _HINTS.get(type(error), error.advice)


def cli_command() -> str:
    """What somebody types in a terminal on this machine for the command line: its name, where the shell finds it by that."""
    return _typed("securechat-cli")


def broker_command(broker: BrokerAddress) -> str:
    """What starts this broker again, if it was one of this machine and none runs here now; else an empty text."""
    (host, *others) = broker.hosts
    if others or not host.startswith("127.") or _one_runs():
        return ""
    port = [] if broker.port == _PORT else ["--port", str(broker.port)]
    return shlex.join([_typed("securechat-broker"), "--host", host, *port])


def _one_runs() -> bool:
    try:
        return find_broker() is not None
    except SecureChatError:  # there is something wrong, and nothing is known
        return True


def _typed(name: str) -> str:
    program = Path(sys.prefix, "bin", name)
    if shutil.which(name) or not program.exists():
        return name
    here = Path.cwd()
    return str(program.relative_to(here) if program.is_relative_to(here) else program)
