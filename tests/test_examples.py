"""Every example that ``--help`` gives, and docs/COMMANDS.md with it, is run, and does what it is given for."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.cli_help import prose_and_examples
from scripts.command_reference import PROGRAMS, commands
from tests.broker_process import BrokerProcess, admin, cli, got, listening
from tests.clients.terminals import CTRL_D, ENTER
from tests.net import until
from tests.readers import PASSPHRASE, Document, Reader

ID = "4Nq0mZ3zX0yT1b2c3d4e5f"  # stands in examples for one that a person has
INVITE = "3b4f43fc"
DOCUMENT = Document(
    line
    for name, program in PROGRAMS.items()
    for _, command in ((name, program), *commands(name, program))
    for line in prose_and_examples(command)[1]
)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    with BrokerProcess(tmp_path / "machine") as running:
        yield running


@pytest.fixture
def alice(tmp_path: Path, broker: BrokerProcess) -> Reader:
    """Somebody with a profile."""
    reader = Reader(DOCUMENT, tmp_path / "alice", broker)
    reader.run("securechat-cli init alice")
    return reader


@pytest.fixture
def bob(tmp_path: Path, broker: BrokerProcess) -> Reader:
    """Another one."""
    reader = Reader(DOCUMENT, tmp_path / "bob", broker)
    assert cli(reader.env, "init", "bob").code == 0
    return reader


@pytest.fixture
def guest(tmp_path: Path, broker: BrokerProcess) -> Reader:
    """Somebody without one."""
    return Reader(DOCUMENT, tmp_path / "guest", broker)


def test_guests_talk(guest: Reader) -> None:
    with guest.running("securechat-cli --as bob listen") as there:
        there.err.has("connected; here:")
        assert "sent to bob (delivered)" in guest.run("securechat-cli --as alice send bob 'backup done'")
        there.out.has("alice: backup done")
    with listening(guest.env, "ops", "--json") as there:
        guest.run("df -h | securechat-cli send ops")
        got(there, "Mounted on")
    with guest.running("securechat-cli --as bob listen -n 1 --json | jq -a .text") as there:
        until(lambda: cli(guest.env, "send", "bob", "for a script").code == 0)
        there.out.has("for a script")
    with guest.at_a_terminal("securechat-cli --as bob chat") as chat:
        chat.has("everyone>")
        guest.run("securechat-cli --as ops send --everyone 'restarting in 5 minutes'")
        chat.has("restarting in 5 minutes")
        chat.press(CTRL_D)
        assert chat.wait() == 0


def test_profiles_talk(alice: Reader, bob: Reader) -> None:
    assert "sent to alice (stored)" in bob.run("securechat-cli send alice 'backup done'")
    assert "made" in bob.run("securechat-cli send alice --run -- make backup")
    bob.run("journalctl -u backup -n 20 | securechat-cli send alice bob -", code=None)  # bob is who sends here
    (bob.folder / "report.pdf").write_bytes(b"%PDF")
    with alice.running("securechat-cli listen --download inbox") as there:
        there.out.has("bob: backup done")
        there.out.has("make backup: done after")
        there.out.has("backup: it went wrong")
        bob.run("securechat-cli send alice -f report.pdf")
        there.out.has("saved as")
    (id_,) = [one["id"] for one in cli(alice.env, "history", "--json").data if "file" in one]
    alice.places |= {ID: id_}
    alice.run(f"securechat-cli download {ID}")
    alice.run(f"securechat-cli download {ID} --to inbox")
    assert [(folder / "report.pdf").read_bytes() for folder in (alice.folder, alice.folder / "inbox")] == [b"%PDF", b"%PDF"]
    with alice.running("""securechat-cli listen --exec 'notify-send "a message from $SECURECHAT_FROM"'""") as there:
        there.err.has("connected; here:")
        with bob.at_a_terminal("securechat-cli chat alice") as chat:
            chat.has("alice>")
            chat.press("are you there?" + ENTER)
            chat.has("delivered")
            chat.press(CTRL_D)
            assert chat.wait() == 0
        notified = alice.folder / "notified"
        until(lambda: notified.is_file() and notified.read_text() == "a message from bob\n")


def test_what_was_said(alice: Reader, bob: Reader) -> None:
    assert cli(alice.env, "send", "bob", "the backup is done").code == 0
    assert bob.run("securechat-cli history --search backup --json | jq -a .text") == "nothing was found\n"
    with listening(bob.env, None, "--json") as there:
        got(there, "the backup is done")
    assert "the backup is done" in bob.run("securechat-cli history alice --limit 10")
    assert bob.run("securechat-cli history --search backup --json | jq -a .text") == '"the backup is done"\n'
    bob.run("securechat-cli export -o history.md")
    bob.run("securechat-cli export alice --json -o alice.ndjson")
    assert "the backup is done" in (bob.folder / "history.md").read_text()
    assert json.loads((bob.folder / "alice.ndjson").read_text())["text"] == "the backup is done"


def test_what_waits(alice: Reader, bob: Reader, broker: BrokerProcess) -> None:
    for line in ("securechat-cli outbox", "securechat-cli outbox list"):
        assert alice.run(line) == "nothing waits to be sent\n"
    assert broker.end() == 0
    waiting = [cli(alice.env, "send", "--timeout", "1ms", "bob", f"waiting {n}") for n in range(3)]
    assert {one.code for one in waiting} == {3}
    assert alice.run("securechat-cli outbox list").count("to bob: waiting") == 3
    alice.places |= {ID: cli(alice.env, "outbox", "--json").data[0]["id"]}
    alice.run(f"securechat-cli outbox drop {ID}")
    with BrokerProcess(broker.data.parent, data=broker.data, port=broker.address.port):
        assert alice.run("securechat-cli outbox retry").count("sent to bob (stored)") == 2
        assert alice.run("securechat-cli outbox retry --timeout 1m") == "nothing waits to be sent\n"
    assert cli(alice.env, "send", "--timeout", "1ms", "bob", "waiting").code == 3
    alice.run("securechat-cli outbox drop --all")
    assert alice.run("securechat-cli outbox") == "nothing waits to be sent\n"


def test_who_is_who(alice: Reader, bob: Reader, broker: BrokerProcess) -> None:
    assert re.search(r"^alice((\n     )?  ([0-9a-f]{4} ?){8}){2}$", alice.run("securechat-cli key"), re.MULTILINE)
    alice.run("securechat-cli key --json | jq -r .encryption_key > alice.pem")
    assert (alice.folder / "alice.pem").read_text().startswith("-----BEGIN PUBLIC KEY-----")
    assert cli(alice.env, "send", "bob", "hello").code == 0
    with listening(bob.env, None), listening(alice.env, "mallory"):
        assert "bob" in alice.run("securechat-cli users")
        assert alice.run("securechat-cli users --json | jq -r .user").split() == ["bob", "mallory"]
        assert cli(alice.env, "send", "mallory", "hello").code == 0
    number = re.findall("[0-9]{5}", alice.run("securechat-cli verify bob"))
    (alice.folder / "bob.number").write_text(" ".join(number))
    assert "bob is verified" in alice.run("""securechat-cli verify bob --number "$(cat bob.number)\"""")
    assert "bob has the key you know" in alice.run("securechat-cli trust bob")
    assert "mallory is blocked" in alice.run("securechat-cli block mallory")
    assert broker.address.where in alice.run("securechat-cli status")
    assert alice.run("securechat-cli -q status || echo 'no chat today'").startswith("broker")
    alice.run("securechat-cli doctor")
    alice.run("securechat-cli doctor --profile alice")
    assert broker.end() == 0
    assert "no chat today" in alice.run("securechat-cli -q status || echo 'no chat today'")


def test_a_backup(bob: Reader, guest: Reader) -> None:
    (guest.folder / "alice.pass").write_text(PASSPHRASE)
    assert cli(guest.env, "--passphrase-file", str(guest.folder / "alice.pass"), "init", "alice").code == 0
    guest.run("securechat-cli --passphrase-file alice.pass backup alice.backup")
    guest.unlocks("securechat-cli backup alice-2026-11-23.backup")
    shutil.rmtree(guest.folder / "data")
    guest.unlocks("securechat-cli restore alice-2026-11-23.backup")
    assert cli(guest.env, "--passphrase-file", str(guest.folder / "alice.pass"), "send", "bob", "I am back").code == 0


SHELLS = {
    """eval "$(securechat-cli completion bash)\"""": "bash",
    """eval "$(securechat-cli completion zsh)\"""": "zsh",
}


@pytest.mark.parametrize("line", SHELLS)
def test_completion(guest: Reader, line: str) -> None:
    if found := shutil.which(SHELLS[line]):
        assert guest.run(line, shell=found) == ""


def test_completion_in_a_file(guest: Reader) -> None:
    (guest.folder / ".config" / "fish" / "completions").mkdir(parents=True)
    guest.run("securechat-cli completion fish > ~/.config/fish/completions/securechat-cli.fish")
    assert "complete" in (guest.folder / ".config" / "fish" / "completions" / "securechat-cli.fish").read_text()


def test_a_broker_is_run(broker: BrokerProcess, tmp_path: Path) -> None:
    owner = Reader(DOCUMENT, tmp_path / "owner", broker, tmp_path / "data")
    owner.places |= {"192.0.2.7": "127.0.0.1"}
    for line in (
        "securechat-broker",
        "securechat-broker --host 192.0.2.7 --data /srv/chat",
        "securechat-broker serve --open --retention 7d",
    ):
        with owner.running(line) as running:
            running.err.has("Server listening on 127.0.0.1:")


def test_a_broker_is_looked_after(broker: BrokerProcess, guest: Reader) -> None:
    assert guest.run("securechat-broker invite").startswith("securechat://")
    assert "good for 5 until" in guest.run("securechat-broker invite --uses 5")
    assert "@" not in guest.run("securechat-broker invite --uses 5 --days 30 --host chat.example.org")
    listed = guest.run("securechat-broker invites").split("\n")
    assert sum("used 0 of 5" in line for line in listed) == 2
    guest.places |= {INVITE: listed[0].split()[0]}
    assert "is revoked" in guest.run(f"securechat-broker revoke {INVITE}")

    (line, *_) = admin(broker.data, broker.env, "invite", "--host", "127.0.0.1").out.splitlines()
    (guest.folder / "invite.txt").write_text(line)
    until(lambda: "alice  " in guest.run("securechat-cli init alice --invite-file invite.txt", code=None))
    assert cli(guest.env, "init", "carol").code == 0
    assert "carol" in guest.run("securechat-broker users")
    assert "carol is released" in guest.run("securechat-broker release carol")
    assert "carol" not in guest.run("securechat-broker users")

    assert "answers" in guest.run("securechat-broker health")
    assert "it is down" not in guest.run("securechat-broker health --timeout 30 || echo 'it is down'")
    assert "none waits" in guest.run("securechat-broker stats")
    assert guest.run("securechat-broker stats --json | jq .mail.messages") == "0\n"
    backups = guest.folder / "var" / "backups" / "securechat"
    backups.mkdir(parents=True)
    guest.run("securechat-broker backup /var/backups/securechat/$(date +%F)")
    (made,) = backups.iterdir()
    made.rename(backups / "2026-11-23")
    guest.run("securechat-broker restore --data /srv/chat /var/backups/securechat/2026-11-23")
    assert (guest.folder / "chat" / "broker.key").is_file()
    assert broker.end() == 0
    assert "it is down" in guest.run("securechat-broker health --timeout 30 || echo 'it is down'")


def test_nothing_was_left_out() -> None:
    """Runs last in this file: an example that none of the above has run."""
    if not DOCUMENT.was_read:
        pytest.skip("the tests above were not run")
    assert DOCUMENT.untyped - {line for line, shell in SHELLS.items() if not shutil.which(shell)} == set()
