"""docs/OPERATIONS.md held against the broker: its tables, and every command in it, carried out in their order.

What a machine's administrator would do with systemd, Docker or cron is done here to processes and folders of the test's own.
"""

from __future__ import annotations

import json
import re
import shlex
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from broker.__main__ import cli
from tests.broker_process import ROOT, BrokerProcess, Running, admin, broker_command, environment
from tests.test_deploy import UNIT, arguments, unit

PAGE = (ROOT / "docs" / "OPERATIONS.md").read_text()
INSTALLED = "/opt/securechat/.venv/bin/securechat-broker"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """Every line that somebody is to type."""
    lines = [line for block in blocks("console") for line in block.splitlines()]
    assert all(line.startswith("$ ") for line in lines)
    return [line.removeprefix("$ ") for line in lines]


def table(heading: str) -> list[list[str]]:
    """The rows of the first table below a heading, without its head."""
    below = PAGE.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.strip("|").split(" | ") for line in below.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def test_the_options_are_those_of_the_broker_with_their_defaults() -> None:
    stated = {row[0].strip("`"): row[1].strip("`") for row in table("Options")}
    found = {}
    for one in cli.params:
        assert isinstance(one, click.Option)
        name = next(opt for opt in one.opts if opt.startswith("--"))
        if name == "--version":
            continue
        found[name] = "off" if one.is_flag or name == "--metrics" else "the state folder" if name == "--data" else one.default
    assert stated == {name: str(default) for name, default in found.items()}


def test_the_files_are_those_of_a_data_folder(tmp_path: Path) -> None:
    with BrokerProcess(tmp_path) as broker:
        there = {path.name for path in broker.data.iterdir()}
        assert broker.end() == 0
    assert {row[0].strip("`") for row in table("What lies where")} == {
        name for name in there if not name.endswith(("-wal", "-shm"))
    }


def test_the_metrics_are_those_that_are_given(tmp_path: Path) -> None:
    with BrokerProcess(tmp_path, "--metrics", "0") as broker:
        url = broker.err.has("Metrics are at ").rpartition(" ")[2]
        with urllib.request.urlopen(url, timeout=60) as answer:
            given = answer.read().decode()
        assert broker.end() == 0
    stated = {row[0].strip("`").partition("{")[0]: row[1] for row in table("Metrics")}
    assert set(stated) == set(re.findall(r"^# TYPE (securechat_\w+)", given, re.MULTILINE))
    for status in re.findall(r'securechat_results_total{status="(\w+)"}', given):
        assert f"`{status}`" in stated["securechat_results_total"]
    for database in re.findall(r'securechat_storage_failing{database="(\w+)"}', given):
        assert f"`{database}`" in stated["securechat_storage_failing"]


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)", PAGE)
    assert len(links) > 3
    assert [one for one in links if not (ROOT / "docs" / one).exists()] == []


def test_other_pages_lead_here() -> None:
    assert "docs/OPERATIONS.md" in (ROOT / "README.md").read_text()


class Machine:
    """A machine as the page has it, with its folders below one of the test's, and brokers instead of services."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.env = environment(root / "home")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.metrics = str(probe.getsockname()[1])
        self.data = self.place("/var/lib/securechat")
        self.done: list[str] = []
        self.service: Running | None = None
        self.built: set[str] = set()
        for folder in ("/etc/systemd/system", "/var/lib", "/var/backups"):
            self.place(folder).mkdir(parents=True)

    def place(self, path: str) -> Path:
        """Where a path of the page is here."""
        if path.startswith("/opt/securechat"):
            return ROOT / path.removeprefix("/opt/securechat").lstrip("/")
        return self.root / path.lstrip("/")

    def mapped(self, words: list[str]) -> list[str]:
        return [str(self.place(one)) if one.startswith(("/var/", "/opt/", "/etc/")) else one for one in words]

    def run(self, line: str) -> str:
        """Carry out a command; returns what it printed."""
        words = [one for one in shlex.split(line) if one != "sudo"]
        known: dict[str, Callable[[list[str]], str | None]] = {
            "securechat-broker": self._broker,
            "systemctl": self._systemctl,
            "journalctl": self._journalctl,
            "useradd": self._useradd,
            "install": self._install,
            "mv": self._really,
            "make": self._make,
            "curl": self._curl,
            "docker": self._docker,
        }
        printed = known[words[0]](words[1:])
        self.done.append(words[0])
        return printed or ""

    def _really(self, rest: list[str], command: str = "mv") -> str:
        done = subprocess.run([command, *self.mapped(rest)], capture_output=True, text=True, timeout=60, check=True)
        return done.stdout

    def _broker(self, rest: list[str]) -> str:
        done = admin(self.data, self.env, *self.mapped(rest))
        assert done.code == 0, (rest, done.err)
        return done.out

    def _systemctl(self, rest: list[str]) -> None:
        if rest == ["daemon-reload"]:
            assert (self.place("/etc/systemd/system") / UNIT.name).read_bytes() == UNIT.read_bytes()
            return
        assert rest[-1] == UNIT.stem
        if rest[0] in ("stop", "restart"):
            self.stop()
        if rest[0] in ("start", "restart", "enable"):
            self.start()

    def start(self) -> None:
        """Start what the unit starts."""
        assert self.service is None
        words = shlex.split(unit()["ExecStart"][0])
        assert words[0] == INSTALLED
        options = [self.metrics if one == "9464" else one for one in self.mapped(words[1:])]
        self.service = Running(broker_command(*options, "--host", "127.0.0.1", "--port", "0"), self.env)
        self.service.err.has("Metrics are at")

    def stop(self) -> None:
        if self.service:
            assert self.service.end() == 0
            self.service.close()
            self.service = None

    def close(self) -> None:
        if self.service:
            self.service.close()

    def _journalctl(self, rest: list[str]) -> None:
        assert rest == ["-u", UNIT.stem]

    def _useradd(self, rest: list[str]) -> None:
        assert [rest[-1]] == unit()["User"]

    def _install(self, rest: list[str]) -> None:
        owned = [at for at, one in enumerate(rest) if one in ("-o", "-g")]
        assert all([rest[at + 1]] == unit()["User"] for at in owned)
        self._really([one for at, one in enumerate(rest) if not {at, at - 1} & set(owned)], "install")

    def _make(self, rest: list[str]) -> str:
        return self._really(["-n", *rest], "make")  # what it would do: this test runs from what it installed

    def _curl(self, rest: list[str]) -> str:
        with urllib.request.urlopen(rest[-1].replace("9464", self.metrics), timeout=60) as answer:
            return str(answer.read().decode())

    def _docker(self, rest: list[str]) -> None:
        match rest:
            case ["build", "-f", dockerfile, "-t", name, "."]:
                assert (ROOT / dockerfile).is_file()
                self.built.add(name)
            case ["run", *words]:
                (image,) = self.built
                at = words.index(image)
                volumes = [words[where + 1] for where, one in enumerate(words[:at]) if one == "-v"]
                inside = [volume.partition(":")[2] for volume in volumes]
                assert set(inside) <= {*arguments("VOLUME"), "/var/backups/securechat"}
                assert ("-p" in words) is (at == len(words) - 1)
                if at < len(words) - 1:  # a command, on the volume of that name
                    (volume,) = [one.partition(":")[0] for one in volumes if one.endswith(arguments("VOLUME")[0])]
                    done = admin(self.root / "volumes" / volume, self.env, *self.mapped(words[at + 1 :]))
                    assert done.code == 0, done.err
            case ["ps" | "logs" | "volume" | "rm", *_]:
                assert "securechat" in rest[-1]
            case _:
                pytest.fail(f"docker {rest}")


def test_every_command_does_what_the_page_says(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    try:
        key = ""
        for line in commands():
            printed = machine.run(line)
            if line.endswith("stats --json"):
                key = json.loads(printed)["key"]
            if line.endswith("/metrics"):
                assert "securechat_connections" in printed
        now = json.loads(machine.run("securechat-broker stats --json"))
        assert (now["key"], now["running"]) == (key, True)
        restored = admin(tmp_path / "volumes" / "securechat-restored", machine.env, "stats", "--json")
        assert restored.data[0]["key"] == key
        machine.stop()
    finally:
        machine.close()
    assert len(machine.done) > 30


def test_the_nightly_backup_is_a_line_that_runs(tmp_path: Path) -> None:
    (block,) = blocks("cron")
    found = re.fullmatch(r"(?:\S+ ){4}\S+ +(\w+) +(.*)\n", block)
    assert found
    assert [found[1]] == unit()["User"]
    with BrokerProcess(tmp_path, data=tmp_path / "var" / "lib" / "securechat") as broker:
        backups = tmp_path / "var" / "backups" / "securechat"
        backups.mkdir(parents=True)
        command = found[2].replace("\\%", "%").replace("/var/", f"{tmp_path}/var/")
        command = command.replace(INSTALLED, f"{shlex.quote(sys.executable)} -m broker")
        subprocess.run(["/bin/sh", "-c", command], cwd=ROOT, env=broker.env, timeout=60, check=True, capture_output=True)
        (made,) = backups.iterdir()
        assert re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", made.name)
        assert admin(made, broker.env, "stats").code == 0
        assert broker.end() == 0
