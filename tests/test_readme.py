"""Every command in the README is run, by people like those it speaks of, and does what it says there."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.chat import ChatClient
from core.content import Text
from core.events import MessageReceived
from tests.broker_process import ROOT, BrokerProcess, Running, cli, got, listening
from tests.clients.terminals import ENTER
from tests.net import PATIENCE, until
from tests.readers import PASSPHRASE, Document, Reader

README = (ROOT / "README.md").read_text()
MAKE = {"make run", "make test"}  # tests/test_scripts.py runs the one, and the other is what runs this


def blocks(language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return [block for name, block in found if name == language]


def commands() -> list[str]:
    """Each line of the README that somebody types or copies, without prompts and times."""
    found: list[str] = []
    for block in blocks(""):
        for line in itertools.chain.from_iterable(one.split("│") for one in block.splitlines()):
            said = line.strip()
            if (
                (typed := re.fullmatch(r"\$ (.+)", said))
                or (typed := re.fullmatch(r"(?:[0-9*]+ ){4}[0-9*]+ +(.+)", said))
                or (typed := re.fullmatch(r"ExecStart=(.+)", said))
                or (typed := re.fullmatch(r"((?:\.venv/bin/)?securechat-.+)", said))
            ):
                found.append(typed[1])
    return found


DOCUMENT = Document(commands())


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    with BrokerProcess(tmp_path / "machine") as running:
        yield running


@pytest.fixture
def alice(tmp_path: Path, broker: BrokerProcess) -> Reader:
    return Reader(DOCUMENT, tmp_path / "alice", broker)


@pytest.fixture
def carol(tmp_path: Path, broker: BrokerProcess) -> Reader:
    return Reader(DOCUMENT, tmp_path / "carol", broker)


@pytest.fixture
def bob(tmp_path: Path, broker: BrokerProcess) -> Reader:
    return Reader(DOCUMENT, tmp_path / "bob", broker)


def init(who: Reader, name: str) -> None:
    done = cli(who.env, "init", name)
    assert done.code == 0, done.err


def test_two_terminals(alice: Reader, bob: Reader) -> None:
    with bob.running("securechat-cli --as bob listen") as there:
        there.err.has("listening as bob")
        assert "sent to bob (delivered)" in alice.run("securechat-cli --as alice send bob 'backup done'")
        there.out.has("alice: backup done")
        alice.run("df -h | securechat-cli send bob")
        there.out.has("Mounted on")
    with listening(alice.env, "alice", "--json") as there:
        bob.run(".venv/bin/securechat-cli --as bob send alice 'hello from the terminal'")
        got(there, "hello from the terminal")
    with bob.running(".venv/bin/securechat-cli --as bob listen") as there:
        there.err.has("listening as bob")


def test_recipes(alice: Reader, bob: Reader) -> None:
    init(alice, "alice")
    with alice.running("securechat-cli listen --json --exec 'cat >> inbox.ndjson'") as there:
        there.err.has("listening as alice")
        for line in (one for one in commands() if "--as cron" in one):
            told = bob.run(line)
        assert "1 of 2\n2 of 2\n" in told
        (unit,) = [line for line in commands() if "journalctl" in line]
        bob.run(unit)
        inbox = alice.folder / "inbox.ndjson"
        until(lambda: inbox.is_file() and inbox.read_bytes().count(b"\n") == 3)
    piped, ran, unit_failed = [json.loads(line) for line in inbox.read_text().splitlines()]
    assert (piped["from"], piped["text"]) == ("cron", "1 of 2\n2 of 2")
    assert "backup.sh: done after" in ran["text"]
    assert (unit_failed["from"], unit_failed["text"]) == ("ops", "web.service: it went wrong")
    with bob.running("securechat-cli --as bob listen --json | jq -ac '[.from, .text]'") as there:
        until(lambda: cli(alice.env, "send", "bob", "\x1b[2Jfor a script\x9b").code == 0)
        there.out.has(r'["alice","\u001b[2Jfor a script\u009b"]')


def test_the_bot(alice: Reader, broker: BrokerProcess) -> None:
    (block,) = blocks("python")
    assert (ROOT / "scripts" / "echo_bot.py").read_text().endswith(block)
    assert len(block.splitlines()) <= 10
    with Running([sys.executable, "-c", block], alice.env), ChatClient("carol", broker.address) as carol:
        until(lambda: "echo" in [peer.user for peer in carol.users()])
        carol.send("hello", "echo")
        answer = next(event.message for event in carol.events(PATIENCE) if isinstance(event, MessageReceived))
        assert (answer.sender, answer.content) == ("echo", Text("hello"))


def test_a_profile_and_what_it_can(alice: Reader, bob: Reader) -> None:
    bob.env["XDG_DATA_HOME"] = alice.env["XDG_DATA_HOME"]  # two terminals of one machine
    bob.run("securechat-cli init bob")
    bob.exports("export SECURECHAT_PROFILE=bob")
    printed = alice.run("securechat-cli init alice")
    alice.exports("export SECURECHAT_PROFILE=alice")
    assert re.search(r"^alice((\n     )?  ([0-9a-f]{4} ?){8}){2}$", printed, re.MULTILINE)
    alice.run("securechat-cli send bob 'this is me'")
    number = re.findall(r"[0-9]{5}", alice.run("securechat-cli verify bob"))
    assert len(number) == 12
    assert "sent to bob (stored)" in alice.run("securechat-cli send bob 'while bob is away'")
    with listening(bob.env, None, "--json") as there:
        got(there, "while bob is away")
        assert "delivered" in alice.run("securechat-cli send --wait delivered --timeout 1h bob 'tell me when he has it'")
        alice.run("securechat-cli outbox retry")
        alice.run("securechat-cli history bob --search away")
        (alice.folder / "report.pdf").write_bytes(b"%PDF")
        alice.run("securechat-cli send bob 'the numbers' -f report.pdf")
        with alice.at_a_terminal("securechat-cli chat bob") as terminal:
            terminal.has("bob>")
            terminal.press("are you there?" + ENTER)
            got(there, "are you there?")
            terminal.has("bob>")
            terminal.press("/quit" + ENTER)
            assert terminal.wait() == 0
    with alice.running("securechat-cli listen --download inbox") as there:
        there.err.has("listening as alice")
        (bob.folder / "plan.txt").write_text("a plan")
        assert cli(bob.env, "send", "alice", "-f", str(bob.folder / "plan.txt")).code == 0
        there.out.has("saved as")
    assert (alice.folder / "inbox" / "plan.txt").read_text() == "a plan"
    (id_,) = alice.run("securechat-cli history --search report.pdf --json | jq -r .id").split()
    assert re.fullmatch(r"[A-Za-z0-9_-]{22}", id_)


def test_a_backup(alice: Reader, bob: Reader) -> None:
    init(bob, "bob")
    alice.env["SECURECHAT_PASSPHRASE_FILE"] = str(alice.folder / "word")
    (alice.folder / "word").write_text(PASSPHRASE)
    assert cli(alice.env, "init", "alice").code == 0
    assert cli(alice.env, "send", "bob", "before the backup").code == 0
    del alice.env["SECURECHAT_PASSPHRASE_FILE"]
    alice.run("(umask 077; cat > alice.pass)", PASSPHRASE)
    assert (alice.folder / "alice.pass").stat().st_mode & 0o077 == 0
    alice.run("securechat-cli --passphrase-file alice.pass backup alice-$(date +%F).backup")
    (made,) = alice.folder.glob("alice-*.backup")
    shutil.rmtree(alice.folder / "data")
    made.rename(alice.folder / "alice-2026-11-23.backup")
    alice.unlocks("securechat-cli restore alice-2026-11-23.backup")
    alice.unlocks("securechat-cli export bob -o bob.md")
    assert "before the backup" in (alice.folder / "bob.md").read_text()


def test_completion(alice: Reader) -> None:
    if bash := shutil.which("bash"):
        assert alice.run('eval "$(securechat-cli completion bash)"', shell=bash) == ""


def test_a_second_machine(alice: Reader, carol: Reader) -> None:
    line, until_when, unreachable = alice.run("securechat-broker invite").splitlines()
    assert unreachable.startswith("warning:")  # the tests' broker listens on this machine only
    assert line.startswith("securechat://")
    assert until_when.startswith("good for 1 until ")
    here = re.sub(r"//[^/]+:", "//127.0.0.1:", line)  # the broker of a test listens nowhere else
    # The broker hears of an invite within half a second, which nobody who types would notice.
    until(lambda: "carol  " in carol.run("securechat-cli init carol --invite -", f"{here}\n", code=None))
    revoke = until_when.partition("with: ")[2]
    assert re.sub(r"[0-9a-f]{8}$", "", revoke) == "securechat-broker revoke "


def test_nothing_was_left_out() -> None:
    """Runs last in this file: what stands in the README and was run by none of the above."""
    if not DOCUMENT.was_read:
        pytest.skip("the tests above were not run")
    elsewhere = set() if shutil.which("bash") else {'eval "$(securechat-cli completion bash)"'}
    assert DOCUMENT.untyped - MAKE - elsewhere == set()
