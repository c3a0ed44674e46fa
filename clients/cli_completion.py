"""``completion``: what a shell needs to complete commands, options, and the names of peers."""

from __future__ import annotations

import contextlib
from typing import Any, Final

import click
from click.shell_completion import CompletionItem, get_completion_class

from clients.cli_help import Command
from clients.cli_settings import Settings, home_of, merge, profile_name, shared_options
from clients.exits import ALWAYS
from core.errors import SecureChatError
from core.names import EVERYONE, is_name

_PROGRAM: Final = "securechat-cli"
_VARIABLE: Final = "_SECURECHAT_CLI_COMPLETE"  # the name that click looks for
_REGISTERS: Final = "    compdef "  # in what click prints for zsh, whose completion need not have been started by then
_SPLITS: Final = "(string split"  # in what click prints for fish: a line at its first comma, for words may have others
_STARTS: Final = "    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i -D; }\n"


@click.command(cls=Command, exits=ALWAYS)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@shared_options
@click.pass_context
def completion(context: click.Context, /, shell: str, **options: Any) -> None:
    """Print what makes SHELL complete commands, options and the names of peers.

    Peers are those whom the profile has met; it is not unlocked for that. For good, put the line into ~/.bashrc or ~/.zshrc,
    or the file to where fish finds it:

    \b
    eval "$(securechat-cli completion bash)"
    eval "$(securechat-cli completion zsh)"
    securechat-cli completion fish > ~/.config/fish/completions/securechat-cli.fish
    """
    settings = merge(context, **options)
    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - one of click's own
    root = context.find_root().command
    source = kind(root, {}, _PROGRAM, _VARIABLE).source().replace(_REGISTERS, _STARTS + _REGISTERS)
    source = source.replace(_SPLITS, f"{_SPLITS} --max 1")
    settings.terminal.data(source, {"v": 1, "type": "completion", "shell": shell, "source": source})


def complete_peer(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """The peers of the profile whose names begin so; none where that is not clear, or cannot be read."""
    import sqlite3

    with contextlib.suppress(SecureChatError, click.UsageError, sqlite3.Error, OSError):
        return [CompletionItem(name) for name in _peers(context) if name.startswith(begun.lower())]
    return []


def complete_conversation(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """The same, and everyone."""
    everyone = [CompletionItem(EVERYONE)] if EVERYONE.startswith(begun.lower()) else []
    return [*complete_peer(context, parameter, begun), *everyone]


def _settings(context: click.Context) -> Settings:
    """What the line says so far. While it is completed, no command has run that would have put this together."""
    chain = [context]
    while chain[0].parent is not None:
        chain.insert(0, chain[0].parent)
    settings = Settings()
    for one in chain:
        given = {name: one.params.get(name) for name in ("user", "profile", "home")}
        settings = Settings(**{name: value or getattr(settings, name) for name, value in given.items()})
    return settings


def _peers(context: click.Context) -> list[str]:
    """Names are not encrypted in a profile's database, so it is read without its passphrase, and not written."""
    from clients.database import look_into
    from clients.keystore import Keystore
    from clients.profiles import DATABASE

    settings = _settings(context)
    name = profile_name(settings)
    if name is None:
        return []
    path = Keystore(home_of(settings), name).folder / DATABASE
    found = [str(user) for (user,) in look_into(path, "SELECT user FROM pins WHERE user != ? ORDER BY user", name)]
    return [user for user in found if is_name(user)]  # the shell takes them unquoted
