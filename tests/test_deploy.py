"""What stands in ``deploy/``, held against what it installs: no image is built, and no unit started, but what they run is."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.broker_process import ROOT, Running, environment
from tests.net import until

DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "securechat-broker.service"
DATA = "/var/lib/securechat"


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions and their arguments."""
    text = (DEPLOY / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(word, " ".join(rest.split())) for word, _, rest in (line.partition(" ") for line in joined.splitlines())]


def arguments(word: str) -> list[str]:
    """Of each instruction of this kind."""
    return [rest for one, rest in instructions() if one == word]


def copies() -> list[tuple[str, str]]:
    """What the image takes from the project, and where it puts it."""
    pairs = [rest.split() for rest in arguments("COPY")]
    assert all(len(pair) == 2 for pair in pairs)
    return [(source, target) for source, target in pairs]


def unit() -> dict[str, list[str]]:
    """The unit's settings."""
    settings: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        name, is_setting, value = line.partition("=")
        if is_setting and not line.startswith("#"):
            settings.setdefault(name, []).append(value)
    return settings


# The image


def test_the_image_is_of_a_pinned_version_and_of_a_python_that_fits() -> None:
    (base,) = arguments("FROM")
    found = re.fullmatch(r"python:(3\.[0-9]+)\.[0-9]+-slim-[a-z]+", base)
    assert found, base
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert Requirement(f"python{project['requires-python']}").specifier.contains(found[1])


def test_what_it_copies_is_there_and_not_ignored() -> None:
    patterns = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    assert patterns[0] == "*"
    let_in = [one.removeprefix("!") for one in patterns if one.startswith("!")]
    sources = [source for source, _ in copies()]
    for source in sources:
        tracked = subprocess.run(["git", "ls-files", source], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert tracked, source
        assert any(fnmatch(source, one) for one in let_in), source
    assert sorted(let_in) == sorted(sources)  # and nothing else leaves this machine


def test_it_installs_the_packages_that_the_broker_imports_and_no_other() -> None:
    """A fresh interpreter imports every module that the image holds."""
    (install,) = [rest for rest in arguments("RUN") if rest.startswith("pip install")]
    words = shlex.split(install)
    constraints = words[words.index("-c") + 1]
    assert ("constraints.txt", str(Path(constraints).parent) + "/") in copies()
    asked = {canonicalize_name(word) for word in words[words.index("-c") + 2 :]}
    modules = [f"{folder}.{path.stem}" for folder in ("core", "broker") for path in (ROOT / folder).glob("[!_]*.py")]
    code = f"import sys, {', '.join(modules)}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    known = packages_distributions()
    imported = {canonicalize_name(one) for name in done.stdout.split() for one in known.get(name, ())}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    direct = {canonicalize_name(Requirement(one).name) for one in project["dependencies"]}
    assert asked == imported & direct


def test_it_runs_as_a_user_of_its_own_and_keeps_its_data_in_the_volume() -> None:
    order = [word for word, _ in instructions()]
    assert arguments("USER") == ["securechat"]
    assert order.index("USER") < order.index("VOLUME") < order.index("ENTRYPOINT")
    assert arguments("VOLUME") == [DATA]
    (made,) = [rest for rest in arguments("RUN") if "install -d" in rest]
    assert f"-m 0700 {DATA}" in made
    assert "-o securechat" in made


def test_what_the_image_runs_runs_and_is_healthy(tmp_path: Path) -> None:
    """Only what it copies is there; its places are below a folder of this test's."""
    places = {"/app/": tmp_path / "app", "/usr/local/bin/": tmp_path / "bin"}
    for folder in places.values():
        folder.mkdir()
    for source, target in copies():
        (place,) = [(where, below) for where, below in places.items() if target.startswith(where)]
        to = place[1] / target.removeprefix(place[0])
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, to, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, to / Path(source).name if to.is_dir() else to)
    (name,) = json.loads(arguments("ENTRYPOINT")[0])
    script = tmp_path / "bin" / name
    assert script.stat().st_mode & 0o111
    mapped = script.read_text().replace("/app", str(tmp_path / "app")).replace(DATA, str(tmp_path / "data"))
    script.write_text(mapped.replace("exec python", f"exec {shlex.quote(sys.executable)}"))
    env = {**environment(tmp_path / "home"), "PATH": f"{script.parent}:/usr/bin:/bin"}
    del env["PYTHONPATH"]

    check = json.loads(arguments("HEALTHCHECK")[0].partition("CMD ")[2])

    def healthy() -> bool:
        return subprocess.run(check, env=env, capture_output=True, timeout=60, check=False).returncode == 0

    assert not healthy()
    with Running([str(script), "--host", "127.0.0.1", "--port", "0"], env) as broker:
        until(healthy)
        assert broker.end() == 0
    assert not healthy()


# The unit


def test_the_unit_runs_a_command_that_is_installed() -> None:
    (line,) = unit()["ExecStart"]
    command, *options = shlex.split(line)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert Path(command).name in project["scripts"]
    assert Path(command).parent == Path("/opt/securechat/.venv/bin")
    (state,) = unit()["StateDirectory"]
    assert options[options.index("--data") + 1] == f"/var/lib/{state}"


def test_the_units_pages_exist() -> None:
    for page in unit()["Documentation"]:
        assert (ROOT / page.removeprefix("file:/opt/securechat/")).is_file()


@pytest.mark.parametrize(
    "setting",
    [
        *("NoNewPrivileges=yes", "ProtectSystem=strict", "ProtectHome=yes", "PrivateDevices=yes", "PrivateTmp=yes"),
        *("StateDirectoryMode=0700", "UMask=0077", "CapabilityBoundingSet=", "User=securechat"),
    ],
)
def test_the_unit_takes_from_the_broker_what_it_does_not_need(setting: str) -> None:
    name, _, value = setting.partition("=")
    assert unit()[name] == [value]


def test_the_unit_lets_the_broker_have_the_sockets_that_it_needs() -> None:
    """TCP by either protocol, and what libzmq opens for itself: without netlink it aborts the process that listens."""
    (families,) = unit()["RestrictAddressFamilies"]
    assert {"AF_INET", "AF_INET6", "AF_NETLINK"} <= set(families.split())


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_systemd_understands_every_line_of_the_unit(tmp_path: Path) -> None:
    """With a program that is there in the broker's place: that one is installed elsewhere, or not at all."""
    (command, *_) = shlex.split(unit()["ExecStart"][0])
    copy = tmp_path / UNIT.name
    copy.write_text(re.sub("(?m)^Documentation=.*\n", "", UNIT.read_text()).replace(command, "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout + done.stderr == ""
    assert done.returncode == 0
