"""The options that all commands share, and what they lead to: an identity and a client."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
import shlex
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from clients.cli_help import Command, SharedOption
from clients.cli_values import Place, not_empty
from clients.config_file import PASSPHRASE_FILE, with_config
from clients.terminal import Terminal
from clients.view import clean
from core import errors
from core.messages import Mode
from core.names import check_name, normalise_name

if TYPE_CHECKING:
    from clients.chat import ChatClient
    from clients.profiles import OpenProfile
    from core.address import BrokerAddress

_F = TypeVar("_F", bound=Callable[..., Any])
_ID_LIKE_AN_OPTION: Final = re.compile(r"-[A-Za-z0-9_-]{21}\Z")
DEFAULT_TIMEOUT: Final = 10.0
GUEST_PREFIX: Final = "guest-"


class ProfileNeeded(errors.SecureChatError):
    """This takes a profile, and {who}."""

    hint = "{advice}"


@dataclass(frozen=True, slots=True)
class Settings:
    """What was asked for, before or after the command's name."""

    user: str | None = None
    profile: str | None = None
    home: Path | None = None
    passphrase_file: Path | None = None
    no_input: bool = False
    broker: str | None = None
    as_json: bool = False
    quiet: bool = False
    verbose: bool = False

    @property
    def terminal(self) -> Terminal:
        """Where to print."""
        return Terminal(as_json=self.as_json, quiet=self.quiet)


def _complete_profile(context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """The profiles whose names begin so; none where they cannot be read."""
    from clients.keystore import Keystore

    homes = [one.params.get("home") for one in (context, context.parent) if one is not None]
    with contextlib.suppress(errors.SecureChatError, OSError):
        home = home_of(Settings(home=next(filter(None, homes), None)))
        return [name for name in Keystore.names(home) if name.startswith(begun.lower())]
    return []


_shared = functools.partial(click.option, cls=SharedOption)
_SHARED: Final = (
    _shared("--as", "user", metavar="NAME", callback=not_empty,
            help="Act as this guest; its keys live in memory.  [env: SECURECHAT_AS]"),
    _shared("--profile", metavar="NAME", callback=not_empty, shell_complete=_complete_profile,
            help="Act as this profile.  [env: SECURECHAT_PROFILE; default: the only one]"),
    _shared("--home", metavar="DIR", type=Place(), help="Where profiles are kept.  [env: SECURECHAT_HOME]"),
    _shared("--passphrase-file", metavar="FILE", type=Place(),
            help="Read the profile's passphrase from here; /dev/fd/N for a file descriptor.  "
            "[env: SECURECHAT_PASSPHRASE_FILE]"),
    _shared("--no-input", is_flag=True, help="Never ask."),
    _shared("--broker", metavar="URL", callback=not_empty,
            help="The broker's securechat:// address.  [env: SECURECHAT_BROKER]"),
    _shared("--json", "as_json", is_flag=True, help="Print one JSON object a line."),
    _shared("-q", "--quiet", is_flag=True, help="Print only data and errors."),
    _shared("-v", "--verbose", is_flag=True, help="Log what happens on the connection."),
)  # fmt: skip


def shared_options(command: _F) -> _F:
    """Options that every command takes, and the group before it too."""
    for option in reversed(_SHARED):
        command = option(command)
    return command


class TakesIds(Command):
    """A command whose arguments are ids as ``b64url`` writes them: one in 64 begins like an option, and is none."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put such ids where click takes everything for an argument."""
        if "--" not in args:
            ids = [one for one in args if _ID_LIKE_AN_OPTION.match(one)]
            args = [*(one for one in args if one not in ids), "--", *ids]
        return super().parse_args(ctx, args)


def merge(context: click.Context, /, **options: Any) -> Settings:
    """The options given here, over those given before the command."""
    before = context.find_object(Settings) or Settings()
    return replace(before, **{name: value or getattr(before, name) for name, value in options.items()})


def home_of(settings: Settings) -> Path:
    """Where profiles are kept."""
    from clients.keystore import choose_home

    return choose_home(settings.home, with_config(os.environ))


def _named(settings: Settings) -> tuple[str | None, str | None]:
    """The guest or the profile that was named, by flags or else by the environment or the config file."""
    if settings.user and settings.profile:
        raise click.UsageError("--as is for a guest and --profile for a profile; give one of them.")
    if settings.user or settings.profile:
        return settings.user, settings.profile
    around = with_config(os.environ)
    guest, profile = around.get("SECURECHAT_AS"), around.get("SECURECHAT_PROFILE")
    if guest and profile:
        raise click.UsageError("SECURECHAT_AS is for a guest and SECURECHAT_PROFILE for a profile; set one of them.")
    return guest, profile


def guest_name(settings: Settings) -> str | None:
    """The guest to act as, if one was named. Raises BadName."""
    guest, _ = _named(settings)
    return check_name(normalise_name(guest)) if guest else None


def named_profile(settings: Settings) -> str | None:
    """The profile to act as, if one was named. Raises click.UsageError where a guest was named, too."""
    _, profile = _named(settings)
    return normalise_name(profile) if profile else None


def broker_for(settings: Settings, fallback: BrokerAddress | None = None) -> BrokerAddress:
    """The broker to use; see ``clients.discovery.choose_broker``."""
    from clients.discovery import choose_broker

    return choose_broker(settings.broker, with_config(os.environ), fallback=fallback)


def profile_name(settings: Settings) -> str | None:
    """The profile to act as: the named one or, if no guest was named, the only one; None for a guest.

    Raises click.UsageError where it is not clear.
    """
    if guest_name(settings):
        return None
    if named := named_profile(settings):
        return named
    home = home_of(settings)
    if not (home / "profiles").is_dir():
        return None
    from clients.keystore import Keystore

    names = Keystore.names(home)
    if len(names) > 1:
        raise click.UsageError(f"There are several profiles ({', '.join(names)}); choose one with --profile NAME.")
    return names[0] if names else None


@contextlib.contextmanager
def open_profile(settings: Settings, guests: str = "") -> Iterator[OpenProfile]:
    """The profile to act as, unlocked; raises ProfileNeeded and ProfileMissing where there is none, and what stands in the way.

    ``guests`` says what a guest does instead, where there is something.
    """
    from clients.keystore import Keystore
    from clients.profiles import OpenProfile

    name = profile_name(settings)
    if name is None:
        guest = guest_name(settings)
        make = f"Make one with: securechat-cli init {guest or 'NAME'}"
        who = f"{guest} is a guest" if guest else _none_here(settings)
        raise ProfileNeeded(who=who, advice=f"{make}; {guests}" if guest and guests else make)
    home = home_of(settings)
    passphrase = None
    if Keystore(home, name).needs_passphrase:
        passphrase = read_passphrase(settings, f"Passphrase of {name}")
        if passphrase is None:
            raise errors.KeystoreLocked
    elif settings.passphrase_file is not None:
        settings.terminal.warn(f"{name} has no passphrase: {settings.passphrase_file} was not read")
    with contextlib.closing(OpenProfile(home, name, passphrase)) as profile:
        yield profile


def warn_if_others_can_read(terminal: Terminal, path: Path) -> None:
    """Say so of a file that a secret is read from; of a pipe or ``/dev/fd/N``, whoever made it has seen to that."""
    with contextlib.suppress(OSError):  # whoever reads it says so
        mode = path.stat().st_mode
        if stat.S_ISREG(mode) and mode & (stat.S_IRGRP | stat.S_IROTH) and path.absolute().parts[1] not in ("dev", "proc"):
            terminal.warn(f"other users can read {clean(str(path))}; mend that with: chmod 600 {shlex.quote(clean(str(path)))}")


def read_passphrase(settings: Settings, prompt: str, *, twice: bool = False) -> str | None:
    """The passphrase from --passphrase-file or a prompt; None where neither is there to be read."""
    path = settings.passphrase_file or with_config(os.environ).get(PASSPHRASE_FILE)
    if path:
        warn_if_others_can_read(settings.terminal, Path(path))
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
            raise click.UsageError(f"The passphrase cannot be read from {path}: {why}.") from None
        return text.removesuffix("\n")
    if settings.no_input or not _can_ask():
        return None
    asked: str = click.prompt(prompt, default="", hide_input=True, show_default=False, err=True, confirmation_prompt=twice)
    return asked


def _can_ask() -> bool:
    """Whether a person can be asked for a secret: at the terminal, also where standard input is what is to be sent."""
    if sys.stdin is not None and sys.stdin.isatty():
        return True
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


@contextlib.contextmanager
def open_client(settings: Settings, mode: Mode, timeout: float, *, offline: bool = False) -> Iterator[ChatClient]:
    """A client that is connected as whoever was asked for: a profile or a guest.

    With ``offline`` a profile's need not be connected: a broker that cannot be reached now may be later.
    """
    with open_identity(settings) as who, connected(settings, who, mode, timeout, offline=offline) as client:
        yield client


@contextlib.contextmanager
def open_identity(settings: Settings) -> Iterator[str | OpenProfile]:
    """Whoever was asked for: an unlocked profile, or a guest's name. Raises as ``open_profile`` does."""
    if profile_name(settings) is not None:
        with open_profile(settings) as profile:
            yield profile
        return
    guest = guest_name(settings)
    named_home = settings.home or with_config(os.environ).get("SECURECHAT_HOME")
    if guest is None and (named_home or settings.passphrase_file):  # nobody says those for a guest
        make = "Make one with: securechat-cli init NAME; or act as a guest, with --as NAME"
        raise ProfileNeeded(who=_none_here(settings), advice=make)
    yield guest or f"{GUEST_PREFIX}{os.urandom(3).hex()}"


def _none_here(settings: Settings) -> str:
    return f"there is none in {home_of(settings)}"


def is_nameless(client: ChatClient) -> bool:
    """Whether it acts as a guest whose name was made up, because none was given."""
    return client.profile is None and client.user.startswith(GUEST_PREFIX)


@contextlib.contextmanager
def connected(
    settings: Settings, who: str | OpenProfile, mode: Mode, timeout: float, *, offline: bool = False
) -> Iterator[ChatClient]:
    """A client for ``who``; see ``open_client``."""
    from clients.chat import ChatClient

    if settings.verbose:
        logging.basicConfig(level=logging.DEBUG, format="%(levelname)s:%(name)s:%(message)s")
    broker = broker_for(settings, fallback=None if isinstance(who, str) else who.broker)
    client = ChatClient(who, broker, mode=mode, events=mode is Mode.FULL)
    client.start()
    try:
        try:
            client.wait_ready(timeout)
        except errors.BrokerUnreachable as error:
            if not offline or client.profile is None or isinstance(error, errors.BrokerKeyMismatch):
                raise
        yield client
    finally:
        client.close()
