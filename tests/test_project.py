"""Promises that the project's files make to each other and to people."""

from __future__ import annotations

import re
import subprocess
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from core.version import VERSION

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


def test_the_version_is_that_of_the_code() -> None:
    assert distribution("securechat-rsa").version == VERSION


def test_the_page_listens_on_this_machine_only_and_reports_to_nobody() -> None:
    config = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())
    assert config["server"]["address"] == "127.0.0.1"
    assert config["server"]["enableXsrfProtection"] is True
    assert config["server"]["headless"] is True
    assert config["browser"]["gatherUsageStats"] is False
    assert config["client"]["allowedOrigins"] == []


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
