"""Promises that the project's files make to each other and to people."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator, Sequence
from importlib.metadata import distribution
from pathlib import Path

import click
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from broker.__main__ import cli as securechat_broker
from clients import exits
from clients.cli import cli as securechat_cli
from clients.cli_help import prose_and_examples
from core.version import VERSION
from scripts.command_reference import PROGRAMS, commands, page

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = ["README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
PIN = re.compile(r"[a-z0-9][a-z0-9-]*==[0-9][0-9a-z.]*(?: ; .+)?")
A_HOME = re.compile(r"(?<![\w.~*-])/(?:root|home/\w+|Users/\w+)/")
A_REGISTRY = re.compile(r"\b(?:pypi|pythonhosted|npmjs|registry|devpi|nexus|artifactory)[a-z0-9.-]*[.](?:org|com|net|io|dev)\b")


def pins() -> dict[str, str]:
    """Each pinned package's name and version."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(one.name): str(one.specifier).removeprefix("==") for one in requirements}


def required() -> list[Requirement]:
    """What pyproject.toml asks for, for running and for testing."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [Requirement(text) for text in (*project["dependencies"], *project["optional-dependencies"]["dev"])]


def tracked() -> list[Path]:
    """The files under version control."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def targets() -> list[str]:
    """The Makefile's targets."""
    return re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_pins_are_exact_and_come_from_no_particular_place() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = [line for line in lines if line and not line.startswith("#")]
    assert len(pinned) > 40
    assert [line for line in pinned if not PIN.fullmatch(line)] == []
    assert not any("//" in line for line in lines)


def test_pins_fit_what_the_project_asks_for() -> None:
    pinned = pins()
    for requirement in required():
        version = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement} is pinned to {version}"


def test_everything_installed_for_the_project_is_pinned_to_its_version() -> None:
    pinned = pins()
    waiting = [(requirement, "") for requirement in required()]
    seen: dict[str, set[str]] = {}
    while waiting:
        requirement, extra = waiting.pop()
        name = canonicalize_name(requirement.name)
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": extra})
        if not applies or seen.get(name, set()) >= {"", *requirement.extras}:
            continue
        seen.setdefault(name, set()).update(("", *requirement.extras))
        found = distribution(name)
        assert found.version == pinned[name], name
        needed = [Requirement(text) for text in found.requires or ()]
        waiting += [(one, extra) for one in needed for extra in ("", *requirement.extras)]
    assert len(seen) > 40


def test_make_help_lists_every_target_and_is_what_make_does() -> None:
    shown = [
        subprocess.run(["make", *goal, "-C", ROOT, "--no-print-directory"], capture_output=True, text=True, check=True).stdout
        for goal in ([], ["help"])
    ]
    assert shown[0] == shown[1]
    listed = re.findall(r"^  ([a-z]+)  ", shown[0], re.MULTILINE)
    assert {"run", "test", "broker", "ui", "demo", "check", "bench", "help"} <= set(listed)
    assert listed == targets()


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


def test_the_version_is_that_of_the_code() -> None:
    assert distribution("securechat-rsa").version == VERSION


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


def test_the_page_listens_on_this_machine_only_and_reports_to_nobody() -> None:
    config = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())
    assert config["server"]["address"] == "127.0.0.1"
    assert config["server"]["enableXsrfProtection"] is True
    assert config["server"]["headless"] is True
    assert config["browser"]["gatherUsageStats"] is False


@pytest.mark.parametrize("pattern", [A_HOME, A_REGISTRY], ids=["home", "registry"])
def test_no_file_names_a_place_of_one_machine(pattern: re.Pattern[str]) -> None:
    files = tracked()
    assert ROOT / "pyproject.toml" in files
    named = {path.relative_to(ROOT): pattern.findall(path.read_text(errors="replace")) for path in files}
    assert {path: found for path, found in named.items() if found} == {}


@pytest.mark.parametrize(
    ("pattern", "text"),
    [(A_HOME, "see /" + "home/ann/notes"), (A_HOME, "/" + "root/x"), (A_REGISTRY, "https://" + "pypi" + ".org/simple")],
)
def test_such_a_place_would_be_noticed(pattern: re.Pattern[str], text: str) -> None:
    assert pattern.search(text)


def test_no_module_is_longer_than_400_lines() -> None:
    modules = [path for folder in ("core", "broker", "clients") for path in (ROOT / folder).rglob("*.py")]
    assert len(modules) > 10
    lengths = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in modules}
    assert {path: length for path, length in lengths.items() if length > 400} == {}
