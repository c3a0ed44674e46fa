"""Promises about structure, held against the source and against what Python really imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent
PACKAGES: Final = ("core", "broker", "clients")
SOURCES: Final = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
CORE: Final = [path for path in SOURCES if path.parent.name == "core"]
SECRET_MODULES: Final = ("envelope", "opening", "content", "chunking", "session", "sending", "peers", "profile", "vault")
IO: Final = {"zmq", "socket", "asyncio", "threading", "time", "click", "streamlit", "sqlite3", "logging"}


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(), _name(path))):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{_name(path)} imports relatively"
            yield from (f"{node.module}.{one.name}" for one in node.names)


def _broker_modules() -> list[str]:
    found = sorted(f"broker.{path.stem}" for path in (ROOT / "broker").glob("*.py") if path.stem != "__init__")
    assert {"broker.server", "broker.router", "broker.__main__"} <= set(found)
    return found


@pytest.mark.parametrize("module", ["broker", *_broker_modules()])
def test_the_broker_cannot_decrypt(module: str) -> None:
    # A fresh interpreter that has really imported it, and with it whatever that imports.
    code = f"import sys, {module}; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    loaded = set(done.stdout.split())
    assert module in loaded
    assert not {f"core.{secret}" for secret in SECRET_MODULES} & loaded
    assert not any(one.partition(".")[0] == "clients" for one in loaded)


def test_the_secret_modules_are_where_that_test_looks() -> None:
    assert {f"{name}.py" for name in SECRET_MODULES} <= {path.name for path in CORE}


def test_import_contracts() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize("package", PACKAGES)
def test_package_init_files_say_what_they_are_and_import_nothing(package: str) -> None:
    path = ROOT / package / "__init__.py"
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree)
    assert len(tree.body) == 1


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_nothing_unpickles(path: Path) -> None:
    assert not {one.partition(".")[0] for one in _imports(path)} & {"pickle", "cPickle", "marshal", "shelve", "dill", "joblib"}
    calls = {
        node.func.id
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not calls & {"eval", "exec", "__import__"}


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_only_core_rsa_touches_rsa(path: Path) -> None:
    touched = [one for one in _imports(path) if ".asymmetric" in one]
    assert bool(touched) is (_name(path) == str(Path("core") / "rsa.py"))


@pytest.mark.parametrize("path", CORE, ids=_name)
def test_core_does_no_input_or_output(path: Path) -> None:
    assert not {one.partition(".")[0] for one in _imports(path)} & IO
    names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
    assert not names & {"open", "print", "input"}


@pytest.mark.parametrize("path", CORE, ids=_name)
def test_core_is_told_the_time_and_the_random_bytes(path: Path) -> None:
    assert not {one.partition(".")[0] for one in _imports(path)} & {"datetime", "os", "random", "secrets", "uuid", "sys"}
