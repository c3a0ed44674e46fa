"""``completion``: real shells complete what people begin to type."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from clients.profiles import OpenProfile
from core.memory import Pin
from tests.broker_process import ROOT, BrokerProcess, cli
from tests.clients.profiles.people import ok, release

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
TYPE = """
eval "$(securechat-cli completion bash)"
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_securechat_cli_completion securechat-cli
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def env(broker: BrokerProcess, tmp_path: Path) -> dict[str, str]:
    """An environment in which ``securechat-cli`` is on the PATH, as it is once it is installed."""
    program = tmp_path / "bin" / "securechat-cli"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m clients "$@"\n')
    program.chmod(0o755)
    home = {"SECURECHAT_HOME": str(tmp_path / "home"), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    return {**broker.env, **home, "PATH": f"{program.parent}:{broker.env['PATH']}"}


def bash(env: dict[str, str], script: str, *words: str) -> list[str]:
    done = subprocess.run(
        ["bash", "--norc", "-c", script, "bash", *words],
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def tab(env: dict[str, str], *words: str) -> list[str]:
    """What bash offers for the last word."""
    return bash(env, TYPE, "securechat-cli", *words)


FISH = """
securechat-cli completion fish | source
complete -C "$argv"
"""
# Completion is for a terminal only; here its last step, which shows what there is, prints it.
ZSH = """
eval "$(securechat-cli completion zsh)"
_describe() { print -l "${(@P)3%%:*}" }
compadd() { print -l "${(@P)5}" }
words=("$@")
CURRENT=$#
_securechat_cli_completion
"""


@pytest.mark.skipif(shutil.which("fish") is None, reason="there is no fish here")
def test_fish_completes(env: dict[str, str]) -> None:
    for line, offered in (
        ("hist", ["history"]),
        ("send --wait ", ["stored", "delivered"]),
        ("completion ", ["bash", "fish", "zsh"]),
    ):
        done = subprocess.run(
            ["fish", "--no-config", "-c", FISH, f"securechat-cli {line}"],
            env=env, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        words = [line.partition("\t")[0] for line in done.stdout.splitlines()]
        assert (sorted(words), done.stderr) == (sorted(offered), "")


@pytest.mark.skipif(shutil.which("zsh") is None, reason="there is no zsh here")
def test_zsh_completes_and_needs_nothing_before(env: dict[str, str]) -> None:
    for words, offered in ((("hist",), ["history"]), (("send", "--wait", ""), ["stored", "delivered"])):
        done = subprocess.run(
            ["zsh", "--no-rcs", "-c", ZSH, "zsh", "securechat-cli", *words],
            env=env, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (done.stdout.split(), done.stderr) == (offered, "")


@pytest.mark.skipif(shutil.which("fish") is None, reason="there is no fish here")
def test_fish_shows_descriptions_as_they_are(env: dict[str, str]) -> None:
    done = subprocess.run(
        ["fish", "--no-config", "-c", FISH, "securechat-cli blo"],
        env=env, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout == "block\tSend nothing to somebody, and take nothing from them\n"


@needs_bash
def test_bash_takes_the_script(env: dict[str, str]) -> None:
    said = bash(env, 'eval "$(securechat-cli completion bash)"; complete -p securechat-cli')
    assert said[-3:] == ["-F", "_securechat_cli_completion", "securechat-cli"]


@needs_bash
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("hist",), ["history"]),
        (("re",), ["restore"]),
        (("send", "--wai"), ["--wait"]),
        (("send", "--wait", ""), ["stored", "delivered"]),
        (("completion", ""), ["bash", "zsh", "fish"]),
        (("outbox", "r"), ["retry"]),
    ],
    ids=" ".join,
)
def test_bash_completes_commands_and_options(env: dict[str, str], words: tuple[str, ...], offered: list[str]) -> None:
    assert tab(env, *words) == offered


@needs_bash
def test_bash_completes_the_peers_of_a_locked_profile(env: dict[str, str], broker: BrokerProcess, tmp_path: Path) -> None:
    word = tmp_path / "pass"
    word.write_text("correct horse\n")
    other = {**env, "SECURECHAT_HOME": str(tmp_path / "others")}
    ok(cli(env, "--passphrase-file", str(word), "init", "alice"))
    for name in ("bob", "brigitte"):
        ok(cli({**env, "SECURECHAT_HOME": str(tmp_path / name)}, "init", name))
        ok(cli(env, "--passphrase-file", str(word), "send", name, "hello"))
    before = sorted((path.name, path.stat().st_mtime_ns) for path in (tmp_path / "home").rglob("*"))
    assert tab(env, "verify", "") == ["bob", "brigitte"]
    assert tab(env, "verify", "br") == tab(env, "send", "Br") == tab(env, "listen", "--from", "br") == ["brigitte"]
    assert tab(env, "history", "") == ["bob", "brigitte", "everyone"]
    assert tab(env, "--profile", "alice", "trust", "bo") == ["bob"]
    assert tab(env, "--profile", "al") == tab(other, "--home", str(tmp_path / "home"), "send", "--profile", "") == ["alice"]
    assert tab(env, "--profile", "nobody", "trust", "") == tab(env, "--as", "guest", "trust", "") == []
    assert tab({**env, "SECURECHAT_PROFILE": "not a name"}, "trust", "") == []
    assert tab(other, "--home", str(tmp_path / "home"), "block", "b") == ["bob", "brigitte"]
    assert sorted((path.name, path.stat().st_mtime_ns) for path in (tmp_path / "home").rglob("*")) == before
    release(broker, "alice", "bob", "brigitte")


@needs_bash
def test_bash_is_offered_names_only(env: dict[str, str], tmp_path: Path) -> None:
    home = tmp_path / "home"
    with closing(OpenProfile.create(home, "alice", None)) as profile:
        for name in ("bob", "b$(touch y)", "b\x1b[2J"):
            profile.store.set_pin(Pin(name, bytes(32), profile=True, since=1))
    assert tab(env, "verify", "") == ["bob"]
    (home / "profiles" / "a$(touch y)").mkdir()
    (home / "profiles" / "a$(touch y)" / "keystore").touch()
    assert tab(env, "--profile", "") == ["alice"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script_that_calls_the_program(env: dict[str, str], shell: str) -> None:
    done = ok(cli(env, "completion", shell))
    assert f"_SECURECHAT_CLI_COMPLETE={shell}_complete" in done.out
    assert f"securechat-cli completion {shell}" in " ".join(ok(cli(env, "completion", "--help")).out.split())
    if found := shutil.which(shell):
        script = Path(env["HOME"]) / "script"
        script.write_text(done.out)
        subprocess.run([found, "-n", str(script)], check=True, timeout=60)


def test_where_it_cannot_be_printed_that_is_said(env: dict[str, str]) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", "securechat-cli completion bash > /dev/full"],
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "Standard output cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_2_another_shell(env: dict[str, str]) -> None:
    assert cli(env, "completion", "tcsh").code == 2
