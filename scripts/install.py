"""Make ``.venv`` and install the project with its pinned packages: ``install.py [dev]``.

It does nothing where that was done before, for the same pyproject.toml, constraints.txt and place. Run it with any
Python >= 3.11; only the standard library is needed. What it says goes to stdout: stderr belongs to what is started next.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / ".securechat-installed"


def main(arguments: Sequence[str]) -> int:
    """Install what is missing; returns the exit code."""
    dev = "dev" in arguments
    with _one_at_a_time():
        key = _key()
        if _installed(key, dev=dev):
            return 0
        what = "SecureChat and what its tests need" if dev else "SecureChat"
        print(f"Installing {what} into .venv (once; this can take some minutes)", flush=True)
        try:
            _install(dev=dev)
        except subprocess.CalledProcessError:
            print("The packages could not be installed; the lines above say why. They come from the network: is it there?")
            return 1
        except _NoVenv as error:
            print(error)
            return 1
        STAMP.write_text(f"{'dev' if dev else 'run'} {key}\n", encoding="utf-8")
    return 0


class _NoVenv(Exception):
    """No virtual environment can be made."""


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Hold a lock on the project's folder: ``make run`` and ``make test`` may be started at the same moment."""
    handle = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _key() -> str:
    """What an installation depends on; the place is part of it, because scripts in ``.venv`` hold its absolute path."""
    digest = hashlib.sha256(bytes(VENV))
    for name in ("pyproject.toml", "constraints.txt"):
        digest.update(hashlib.sha256((ROOT / name).read_bytes()).digest())
    return digest.hexdigest()


def _installed(key: str, *, dev: bool) -> bool:
    try:
        kind, found = STAMP.read_text(encoding="utf-8").split()
    except (FileNotFoundError, ValueError):
        return False
    return found == key and (kind == "dev" or not dev) and PYTHON.exists()


def _install(*, dev: bool) -> None:
    wanted = ["-c", "constraints.txt", "-e", ".[dev]" if dev else "."]
    uv = shutil.which("uv")
    if uv:
        try:
            if not _usable():
                _run(uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(VENV))
            _run(uv, "pip", "install", "--quiet", "--python", str(PYTHON), *wanted)
        except subprocess.CalledProcessError:
            print("uv did not manage; trying pip", flush=True)
        else:
            return
    if not (_usable() and _has_pip()):
        _make_venv()
    _run(str(PYTHON), "-m", "pip", "install", "-qq", "--disable-pip-version-check", *wanted)


def _usable() -> bool:
    """Whether ``.venv`` holds a Python that starts, is new enough, and was made at this place."""
    check = "import sys; print(sys.prefix); sys.exit(sys.version_info < (3, 11))"
    try:
        ran = subprocess.run([PYTHON, "-c", check], capture_output=True, text=True, check=False)
    except OSError:
        return False
    here = VENV / "bin" / "activate"
    moved = here.exists() and str(VENV) not in here.read_text(encoding="utf-8", errors="replace")
    return ran.returncode == 0 and ran.stdout.strip() == str(VENV) and not moved


def _has_pip() -> bool:
    return subprocess.run([PYTHON, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0


def _make_venv() -> None:
    command = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    made = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if made.returncode == 0:
        return
    if "ensurepip" in made.stdout:  # Debian and its kin keep it apart from Python
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise _NoVenv(
            f"{sys.executable} lacks its venv module: install it (Debian, Ubuntu: sudo apt-get install python{version}-venv), "
            "or install uv, and try again."
        )
    raise _NoVenv(f"{sys.executable} made no virtual environment. {made.stdout.strip()}")


def _run(*command: str) -> None:
    # No --user, --target or --require-virtualenv from somebody's own configuration applies to a folder of the project's.
    quiet = {name: value for name, value in os.environ.items() if name not in {"PIP_USER", "PIP_TARGET", "PIP_PREFIX"}}
    subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT, check=True, env=quiet)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
