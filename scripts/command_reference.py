"""Write docs/COMMANDS.md from the programs' own help; with --check, only say whether it is up to date."""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
from collections.abc import Iterator, Set
from pathlib import Path

import click

from broker.__main__ import cli as securechat_broker
from clients.cli import cli as securechat_cli
from clients.cli_help import BROKEN_OFF, Command, Program

PAGE = Path(__file__).parent.parent / "docs" / "COMMANDS.md"
PROGRAMS: dict[str, click.Group] = {"securechat-cli": securechat_cli, "securechat-broker": securechat_broker}
_WIDTH = 128
_HEAD = """\
<!-- made by: python -m scripts.command_reference -->

# Commands

What `--help` says of each command, on one page. Settings come from flags, else from the environment variables in brackets,
else, for `securechat-cli`, from [`config.toml`](#configtoml). The options of `securechat-cli` itself stand before a command or
behind it; so does the `--data` of `securechat-broker`. What exit codes mean to a person is in
[When something does not work](TROUBLESHOOTING.md#exit-codes), and what `--json` prints in [What --json prints](JSON.md).
"""
_CONFIG = """
## config.toml

`securechat-cli` and the page read `$XDG_CONFIG_HOME/securechat/config.toml`; where that variable is not set, it is
`~/.config/securechat/config.toml`. It may have these keys, all of them texts. There is no place for a secret in it: passphrases
and invites are asked for, or read from files of their own (made with `umask 077`, so that nobody else can read them). The page
takes `broker` and `home` from it.

| key | like | means |
| --- | --- | --- |
| `broker` | `--broker`, `SECURECHAT_BROKER` | the broker's `securechat://` address |
| `profile` | `--profile`, `SECURECHAT_PROFILE` | which profile to act as |
| `as` | `--as`, `SECURECHAT_AS` | which guest to act as, in place of a profile |
| `home` | `--home`, `SECURECHAT_HOME` | where profiles are kept |
| `passphrase_file` | `--passphrase-file`, `SECURECHAT_PASSPHRASE_FILE` | the file that holds the profile's passphrase |

```toml
profile = "alice"
home = "~/chat"
```
"""


def page() -> str:
    """The page as Markdown."""
    return _HEAD + "".join(_program(name, group) for name, group in PROGRAMS.items()) + _CONFIG


def commands(name: str, group: click.Group) -> Iterator[tuple[str, click.Command]]:
    """A program's commands under their full names, those of groups within it as well."""
    for word, command in sorted(group.commands.items()):
        yield f"{name} {word}", command
        if isinstance(command, click.Group):
            yield from commands(f"{name} {word}", command)


def _program(name: str, group: click.Group) -> str:
    shared = {(one.name, str(one.help)) for one in group.params if isinstance(one, click.Option)}
    parts = [f"\n## {name}\n\n{_help(group)}{_options(group, set())}{_exits(group)}"]
    for full, command in commands(name, group):
        usage = " ".join([full, *command.collect_usage_pieces(click.Context(command, info_name=full))])
        parts.append(f"\n### {full}\n\n    {usage}\n\n{_help(command)}{_options(command, shared)}{_exits(command)}")
    return "".join(parts)


def _options(command: click.Command, shared: Set[tuple[str | None, str]]) -> str:
    """A list of a command's own options, with what click adds to their help: defaults and ranges."""
    context = click.Context(command)
    own = [one for one in command.params if isinstance(one, click.Option) and (one.name, str(one.help)) not in shared]
    records = [record for one in own if (record := one.get_help_record(context))]
    listed = "".join(f"{_wrapped(f'- `{names}`: {_escaped(text)}')}\n" for names, text in records)
    return f"\n{listed}" if listed else ""


def _exits(command: click.Command) -> str:
    """How it can end: of each command of ``securechat-cli``; of ``securechat-broker`` once, for all of them."""
    if isinstance(command, Command):
        codes = {code: word for code, word in command.exits.items() if code not in BROKEN_OFF}
    elif isinstance(command, Program):
        codes = dict(command.exits)
    elif isinstance(command, click.Group):
        return f"\n{_wrapped(command.epilog or '')}\n"
    else:
        return ""
    return f"\n{_wrapped('Exit codes: ' + ' · '.join(f'{code} {word}' for code, word in codes.items()))}\n"


def _help(command: click.Command) -> str:
    """Help as Markdown: paragraphs that click does not wrap are examples."""
    return "\n".join(
        "".join(f"    {line}\n" for line in part[1:].strip("\n").splitlines())
        if part.startswith("\b")
        else f"{_wrapped(_escaped(part))}\n"
        for part in re.split(r"\n{2,}", inspect.cleandoc(command.help or ""))
    )


def _escaped(text: str) -> str:
    return re.sub(r"([<*])", r"\\\1", text)


def _wrapped(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), _WIDTH, break_on_hyphens=False)


def main() -> int:
    """Write, or check."""
    wanted = page()
    if "--check" in sys.argv[1:]:
        return int(not PAGE.exists() or PAGE.read_text(encoding="utf-8") != wanted)
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
