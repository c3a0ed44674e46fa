"""What ``--help`` shows of a command: what it does, examples, its own options, and the exit codes that it can end with."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import click

from clients.exits import BROKEN_PIPE, HUNG_UP, INTERRUPTED, OK, TERMINATED, WORDS

# By signals and pipes every command can be ended.
BROKEN_OFF: Final = {
    HUNG_UP: "its terminal is gone",
    INTERRUPTED: "Ctrl-C",
    BROKEN_PIPE: "its output is read no more",
    TERMINATED: "SIGTERM",
}


class SharedOption(click.Option):
    """An option that every command takes."""


class Command(click.Command):
    """A command that knows its exit codes: ``exits`` are those beside 0, and ``words`` say what some mean for it alone."""

    def __init__(self, *args: Any, exits: Iterable[int], words: Mapping[int, str] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        mean = {**WORDS, OK: "done", **(words or {})}
        self.exits: Final[Mapping[int, str]] = {code: mean[code] for code in (OK, *sorted(exits))} | BROKEN_OFF

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """What it does, then the examples."""
        _write_help(self, formatter)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Its own in full, and of those that every command takes only how they are written."""
        records = {one: record for one in self.get_params(ctx) if (record := one.get_help_record(ctx))}
        own = [record for one, record in records.items() if not isinstance(one, SharedOption)]
        shared = ", ".join(record[0] for one, record in records.items() if isinstance(one, SharedOption))
        with formatter.section("Options"):
            formatter.write_dl(own)
        with formatter.section("Options of every command"):
            formatter.write_text(f"{shared}; '{ctx.find_root().info_name} -h' explains them.")

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """The exit codes."""
        _write_exits(self.exits, formatter)


class Group(Command, click.Group):
    """A command with commands of its own."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands, then the options."""
        self.format_commands(ctx, formatter)
        Command.format_options(self, ctx, formatter)


class Program(click.Group):
    """All commands, under headings in the order in which they were added, and what every exit code means."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._headings: dict[str, list[str]] = {}

    @property
    def exits(self) -> Mapping[int, str]:
        """Every exit code that a command can end with."""
        return {**WORDS, **BROKEN_OFF}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take ``help COMMAND`` for ``COMMAND --help``."""
        return super().parse_args(ctx, [*args[1:], "--help"] if args[:1] == ["help"] else args)

    def add(self, heading: str, command: click.Command, line: str) -> None:
        """Have a command under a heading; ``line`` is for the list, where there is no room for a sentence of its help."""
        command.short_help = line
        self.add_command(command)
        self._headings.setdefault(heading, []).append(str(command.name))

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """What it is, then the examples."""
        _write_help(self, formatter)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands, then the options that all of them take."""
        self.format_commands(ctx, formatter)
        click.Command.format_options(self, ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """Each under its heading, all in one column."""
        width = max(len(name) for name in self.commands)
        for heading, names in self._headings.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(width), str(self.commands[name].short_help)) for name in names])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """The exit codes."""
        _write_exits(self.exits, formatter)


def prose_and_examples(command: click.Command) -> tuple[list[str], list[str]]:
    """A command's help as paragraphs, and the command lines that it gives as examples: what click is told not to wrap."""
    prose: list[str] = []
    examples: list[str] = []
    for part in re.split(r"\n{2,}", inspect.cleandoc(command.help or "")):
        if part.startswith("\b"):
            examples += part[1:].strip("\n").splitlines()
        else:
            prose.append(" ".join(part.split()))
    return prose, examples


def _write_help(command: click.Command, formatter: click.HelpFormatter) -> None:
    prose, examples = prose_and_examples(command)
    formatter.write_paragraph()
    with formatter.indentation():
        formatter.write_text("\n\n".join(prose))
    with formatter.section("Examples"):
        for line in examples:
            formatter.write(f"{'':>{formatter.current_indent}}{line}\n")


def _write_exits(exits: Mapping[int, str], formatter: click.HelpFormatter) -> None:
    with formatter.section("Exit codes"):
        formatter.write_dl([(str(code), word) for code, word in exits.items()])
