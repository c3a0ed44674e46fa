"""Promises that documents make: that what they name is there, is called so, and was made anew when it had to be."""

from __future__ import annotations

import ast
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click
import pytest

from broker.__main__ import cli as securechat_broker
from clients import exits
from clients.cli import cli as securechat_cli
from clients.cli_help import prose_and_examples
from scripts import command_reference, mutants, state_table
from scripts.command_reference import PROGRAMS, commands, page

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = ["README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", (ROOT / document).read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, heading = link.partition("#")
        there = (ROOT / document).parent / path if path else ROOT / document
        assert there.exists(), link
        assert not heading or heading in headings(there.read_text()), link


def headings(text: str) -> list[str]:
    """What a link to a heading is called: as GitHub and GitLab do."""
    found = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found]


MADE: dict[str, Callable[[], str]] = {
    "docs/COMMANDS.md": command_reference.page,
    "docs/MUTANTS.md": mutants.page,
    "docs/PROTOCOL.md": lambda: state_table.with_table((ROOT / "docs" / "PROTOCOL.md").read_text()),
}  # and docs/STATES.md: tests/test_states.py; docs/SURVIVORS.md: tests/test_survivors.py


@pytest.mark.parametrize("document", MADE)
def test_what_a_script_makes_is_up_to_date(document: str) -> None:
    assert (ROOT / document).read_text() == MADE[document](), f"run the script that {document} names"


_MAKE = re.compile(r"(?:`|\$ )(make [a-z]+(?: ARGS=(?:'[^']*'|[^\s`]+))?)")
MAKE = sorted({line for document in DOCUMENTS for line in _MAKE.findall((ROOT / document).read_text())})


@pytest.mark.parametrize("line", MAKE)
def test_what_documents_have_make_do_can_be_started(line: str) -> None:
    """What takes long is asked for its help alone; short forms of it are run by tests of their own."""
    env = {name: value for name, value in os.environ.items() if name not in ("ARGS", "MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    steps = subprocess.run(f"{line} -n", shell=True, cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout
    last = steps.splitlines()[-1].removeprefix("exec ")
    if any(one in last for one in ("-m scripts.run", "-m scripts.demo", "-m pytest")):
        return  # tests/test_scripts.py runs these, and this is one of the last
    done = subprocess.run(f"{last} --help", shell=True, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def said() -> str:
    """All texts that are in the code, with a gap where a value stands."""
    texts = []
    for path in (path for folder in ("core", "broker", "clients") for path in (ROOT / folder).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                texts.append("".join(str(one.value) if isinstance(one, ast.Constant) else "\0" for one in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(re.sub(r"\{\w+\}", "\0", node.value))
    return " ".join("\n".join(texts).split())


def test_what_troubleshooting_quotes_is_what_programs_say() -> None:
    text, code = (ROOT / "docs" / "TROUBLESHOOTING.md").read_text(), said()
    rows = re.findall(r"^\| ([^|]*\*[^|]+) \|", text, re.MULTILINE)
    quoted = [one for row in rows for one in re.findall(r"\*([^*]+)\*", row)]
    assert len(quoted) > 40
    parts = [(one, part.strip(" .")) for one in quoted for part in re.split(r"…|[';:]|[0-9.]{4,}", one)]
    assert [one for one, part in parts if part and part not in code] == []


def _mentions(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each ``securechat-cli …`` and ``securechat-broker …`` of a page, up to where the shell or the sentence takes over."""
    for program, rest in re.findall(r"(?<![\w/-])(?<!-t )securechat-(cli|broker)((?: [^\s`|<>;()*,]+)+)", text):
        yield program, [word.strip("'\"") for word in rest.split()]


def _command(group: click.Group, words: list[str]) -> str | None:
    """The first word that is neither an option of the group's nor the value of one."""
    takes_value = {name for one in group.params if isinstance(one, click.Option) and not one.is_flag for name in one.opts}
    left = iter(words)
    for word in left:
        if word in takes_value:
            next(left, None)
        elif not word.startswith("-"):
            return word
    return None


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_that_a_page_mentions_exist(document: str) -> None:
    groups = {"cli": securechat_cli, "broker": securechat_broker}
    mentioned = [(program, _command(groups[program], words)) for program, words in _mentions((ROOT / document).read_text())]
    unknown = {(program, one) for program, one in mentioned if one and one not in groups[program].commands}
    assert unknown == set()
    assert mentioned or document not in {"README.md", "docs/OPERATIONS.md", "docs/TROUBLESHOOTING.md"}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_each_row_belongs_to_a_table(document: str) -> None:
    lines = (ROOT / document).read_text().split("\n")
    heads = [at for at, line in enumerate(lines) if line.startswith("|") and (at == 0 or not lines[at - 1].startswith("|"))]
    assert [lines[at] for at in heads if not lines[at + 1].startswith("| ---")] == []


def test_a_command_that_does_not_exist_would_be_noticed() -> None:
    found = [_command(securechat_cli, words) for _, words in _mentions("say `securechat-cli --as bob sned alice 'x'` and")]
    assert found == ["sned"]


COMMANDS = [(full, command) for name, group in PROGRAMS.items() for full, command in ((name, group), *commands(name, group))]


def test_the_page_of_commands_is_up_to_date() -> None:
    assert (ROOT / "docs" / "COMMANDS.md").read_text() == page(), "run: python -m scripts.command_reference"
    assert "(docs/COMMANDS.md)" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize(("full", "command"), COMMANDS, ids=[full for full, _ in COMMANDS])
def test_each_command_and_each_option_says_what_it_is_for(full: str, command: click.Command) -> None:
    assert command.help
    assert f"\n### {full}\n" in page() or full in PROGRAMS
    silent = [one.name for one in command.params if isinstance(one, click.Option) and not (one.help or "").endswith((".", "]"))]
    assert silent == []


@pytest.mark.parametrize(("full", "command"), COMMANDS, ids=[full for full, _ in COMMANDS])
def test_each_command_shows_examples_and_its_exit_codes(full: str, command: click.Command) -> None:
    program, *words = full.split()
    shown = command.get_help(_context(PROGRAMS[program], program, words))
    _, examples = prose_and_examples(command)
    assert [line for line in examples if full in line]
    assert [line for line in examples if f"\n  {line}\n" not in shown] == []
    assert "Exit codes:" in shown
    assert [line for line in shown.splitlines() if len(line) > 80 and line.strip() not in examples] == []


def _context(group: click.Group, program: str, words: Sequence[str]) -> click.Context:
    context = click.Context(group, info_name=program, terminal_width=80, **group.context_settings)
    for word in words:
        assert isinstance(context.command, click.Group)
        context = click.Context(context.command.commands[word], info_name=word, parent=context)
    return context


def test_each_exit_code_is_explained() -> None:
    text = (ROOT / "docs" / "TROUBLESHOOTING.md").read_text()
    explained = {int(code) for code in re.findall(r"^\| ([0-9]+) \|", text, re.MULTILINE)}
    codes = {value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}
    assert codes == explained
