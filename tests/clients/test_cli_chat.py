"""``chat`` as a real process on a terminal, with a real broker."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import time
from pathlib import Path

import pytest

from tests.broker_process import ASCII, BrokerProcess, Running, cli, got, listening
from tests.clients.profiles.people import Env, ok, release
from tests.clients.terminals import CTRL_C, CTRL_D, CTRL_U, ENTER, TAB, UP, OnTerminal, chatting
from tests.net import Wire, until


def test_two_people_talk(env: Env) -> None:
    with chatting(env, "--as", "alice", "chat") as alice:
        alice.has("connected; here: nobody else yet")
        with chatting(env, "--as", "carol", "chat", "alice", prompt="alice>") as carol:
            alice.has("carol joined")
            carol.press("hello alice" + ENTER)
            carol.has("carol to alice: hello alice")
            alice.has("carol: hello alice")
            alice.press("half a li")  # and while it is typed, something comes
            alice.has("half a li")
            carol.press("are you there?" + ENTER)
            alice.has("carol: are you there?")
            alice.press("ne" + ENTER)
            alice.has("alice to everyone: half a line")
            carol.has("alice to everyone: half a line")
            alice.shows("alice · ✓✓ delivered")
            carol.press(CTRL_D)
            assert carol.wait() == 0
        alice.has("carol left")
        alice.press("/quit" + ENTER)
        assert alice.wait() == 0
        assert alice.echoes


def test_what_is_pasted_is_one_message(env: Env, bob: Running) -> None:
    with chatting(env, "--as", "alice", "chat", "bob", prompt="bob>") as alice:
        alice.press("\x1b[200~/etc is one\r\ntwo\rthree\x1b[201~")
        alice.has("three")
        alice.press(ENTER)
        alice.has("    three")
        assert got(bob, "/etc is one")["text"] == "/etc is one\ntwo\nthree"
        alice.press("by hand\x1b\rand more" + ENTER)
        assert got(bob, "by hand")["text"] == "by hand\nand more"
        alice.press("//slash" + ENTER)
        assert got(bob, "/slash")["text"] == "/slash"
        alice.press(UP)
        alice.has("//slash")


def test_a_peers_escape_sequences_do_not_reach_the_terminal(env: Env) -> None:
    with chatting(env, "--as", "alice", "chat") as alice:
        ok(cli(env, "--as", "mallory", "send", "alice", "\x1b[2J\x1b]0;owned\x07\x9b31m\u202egnol"))
        alice.has("mallory: ␛[2J␛]0;owned␇")
        assert b"\x1b]0;owned" not in alice.raw
        assert "\x9b".encode() not in alice.raw
        assert "\u202e".encode() not in alice.raw


def test_commands(env: Env, bob: Running, tmp_path: Path) -> None:
    with chatting(env, "--as", "alice", "chat") as alice:
        alice.press("/nonsense" + ENTER)
        alice.has("There is no /nonsense")
        alice.press("/he" + TAB + ENTER)
        alice.has("/quit                 leave")
        alice.press("/verify" + ENTER)
        alice.has("Say whom")
        alice.press("/to b" + TAB + ENTER)
        alice.has("bob>")
        alice.press("/users" + ENTER)
        alice.has("bob  guest  ")
        alice.press("/verify bob yes" + ENTER)
        alice.has("First look at the number: /verify bob")
        alice.press("/verify" + ENTER)
        alice.has("Do both show the same? /verify bob yes")
        alice.press("/verify bob 12345" + ENTER)
        alice.has("That is another number")
        alice.press("/verify bob yes" + ENTER)
        alice.has("bob is verified")
        alice.has("bob ✓>")
        alice.press("/everyone" + ENTER)
        alice.has("everyone>")
        alice.press("/to nobody-here" + ENTER)
        alice.has("nobody-here is not here now")
        alice.press("hello?" + ENTER)
        alice.has("not sent to nobody-here: was not here: hello?")
        alice.press("/to bob" + ENTER + "never mind" + ENTER)
        assert got(bob, "never mind")["from"] == "alice"
        alice.press("/save" + ENTER)
        alice.has("No file has come from bob")
        alice.press(f"/file {tmp_path}/none" + ENTER)
        alice.has("cannot be read")
        alice.press("/file ~nobody-of-that-name/x" + ENTER)
        alice.has("~nobody-of-that-name/x is no place on this machine")
        alice.press("\x1b[200~/file a\0b\x1b[201~" + ENTER)
        alice.has("a␀b is no place on this machine")
        alice.press(CTRL_D)
        assert alice.wait() == 6  # one message went to nobody


def test_files(env: Env, tmp_path: Path) -> None:
    (tmp_path / "a b.txt").write_text("content")
    (tmp_path / "a trap.txt").write_text("another")
    with (
        chatting(env, "--as", "alice", "chat", "dave", prompt="dave>") as alice,
        chatting(env, "--as", "dave", "chat", "alice", prompt="alice>") as dave,
    ):
        alice.has("dave joined")
        alice.press(f"/file {tmp_path}/a b.txt" + ENTER)
        alice.has("alice to dave: [file] a b.txt (7 B)")
        dave.has("alice: [file] a b.txt (7 B)")
        ok(cli(env, "--as", "mallory", "send", "dave", "-f", str(tmp_path / "a trap.txt")))
        ok(cli(env, "--as", "mallory", "send", "--everyone", "-f", str(tmp_path / "a trap.txt")))
        dave.has("/to mallory, then /save fetches it")
        dave.has("/everyone, then /save fetches it")
        dave.press("/save ~nobody-of-that-name" + ENTER)
        dave.has("~nobody-of-that-name is no place on this machine")
        dave.press(f"/save {tmp_path}/in" + ENTER)
        dave.has("fetching a b.txt from alice")
        dave.has("saved as")
        assert (tmp_path / "in" / "a b.txt").read_text() == "content"
        dave.press("/everyone" + ENTER + f"/save {tmp_path}/in" + ENTER)
        dave.has("fetching a trap.txt from mallory")
        dave.has("saved as")


@pytest.mark.parametrize(("number", "code"), [(None, 130), (signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_it_ends_and_leaves_the_terminal_as_it_was(env: Env, number: signal.Signals | None, code: int) -> None:
    with chatting(env, "--as", "alice", "chat") as alice:
        alice.press("something half")
        alice.has("something half")
        assert not alice.echoes
        if number is None:
            alice.press(CTRL_C)
        else:
            alice.process.send_signal(number)
        assert alice.wait() == code
        assert alice.echoes
        assert "Traceback" not in alice.text
    until(lambda: "alice" not in cli(env, "users").out)


def test_2_without_a_terminal_it_says_what_to_use(env: Env) -> None:
    done = cli(env, "--as", "alice", "chat")
    assert done.code == 2
    assert "'chat' needs a terminal. Without one: securechat-cli send, and securechat-cli listen" in done.err
    assert "programs have 'listen --json'" in cli(env, "--json", "--as", "alice", "chat").err
    with OnTerminal(env, "--as", "alice", "chat", "Not A Name") as refused:
        refused.has("is not a username")
        assert refused.wait() == 2


def test_6_the_name_is_taken(env: Env, bob: Running) -> None:
    with OnTerminal(env, "--as", "bob", "chat") as other:
        other.has("in use by somebody else")
        assert other.wait() == 6


def test_6_the_name_was_taken_while_the_broker_was_away(tmp_path: Path) -> None:
    with BrokerProcess(tmp_path) as before, chatting(before.env, "--as", "bob", "chat") as bob:
        bob.process.send_signal(signal.SIGSTOP)
        before.end(signal.SIGKILL)
        with BrokerProcess(tmp_path, port=before.address.port) as after, Wire(after.address).log_in("bob"):
            bob.process.send_signal(signal.SIGCONT)
            assert bob.wait() == 6
        bob.has("in use by somebody else")
        assert bob.echoes


def test_a_terminal_that_knows_only_ascii_and_no_colours(env: Env) -> None:
    with (
        listening(env, "erin"),
        chatting({**env, **ASCII, "NO_COLOR": "1"}, "--as", "alice", "chat", "erin", prompt="erin>") as alice,
    ):
        alice.press("hi" + ENTER)
        alice.has("alice to erin: hi")
        alice.shows("alice - ++ delivered")
        assert alice.raw.isascii()
        assert b"\x1b[31m" not in alice.raw


@pytest.fixture
def town(tmp_path: Path) -> tuple[Path, Env, Env]:
    return tmp_path, {"SECURECHAT_HOME": str(tmp_path / "alice's")}, {"SECURECHAT_HOME": str(tmp_path / "bob's")}


def settled(broker: BrokerProcess, **homes: Env) -> list[Env]:
    """Make profiles of these names; returns their environments."""
    people = {name: {**broker.env, **home} for name, home in homes.items()}
    for name, env in people.items():
        ok(cli(env, "init", name))
    return list(people.values())


def test_a_profile_sees_what_it_missed_once_and_what_was_before(town: tuple[Path, Env, Env]) -> None:
    folder, alice, bob = town
    with BrokerProcess(folder) as broker:
        alice, bob = settled(broker, alice=alice, bob=bob)
        ok(cli(alice, "send", "bob", "long before"))
        with chatting(bob, "chat", "alice", prompt="alice>") as first:
            first.has("alice: long before")
            first.press("the answer" + ENTER)
            first.has("bob to alice: the answer")
            first.press(CTRL_D)
            assert first.wait() == 0
        ok(cli(alice, "send", "bob", "while away"))
        with chatting(bob, "chat", "alice", prompt="alice>") as again:
            again.has("alice: while away")
            assert "alice: long before" in again.text
            assert "bob [✓ stored]: the answer" in again.text
            again.press("/quit" + ENTER)
            assert again.wait() == 0
        with chatting(bob, "chat", "alice", prompt="alice>") as last:
            last.has("connected; here: nobody else yet")
            last.press("/quit" + ENTER)
            assert last.wait() == 0
            assert last.text.count("while away") == 1


def test_an_outage_is_told_once_and_what_was_typed_meanwhile_is_sent(town: tuple[Path, Env, Env]) -> None:
    folder, alice, _ = town
    broker = BrokerProcess(folder)
    try:
        env = {**broker.env, **alice}
        ok(cli(env, "init", "alice"))
        with listening(broker.env, "bob", "--json") as bob, chatting(env, "chat", "bob", prompt="bob>") as chat:
            chat.has("connected; here: bob")
            broker.end(signal.SIGKILL)
            broker.close()
            chat.has("connection lost: ")
            chat.press("into the void" + ENTER)
            chat.has("alice to bob: into the void")
            chat.shows("alice · no connection; trying again · … queued")
            broker = BrokerProcess(folder, port=broker.address.port)
            chat.has("connected again")
            assert got(bob, "into the void")["from"] == "alice"
            chat.shows("alice · ✓✓ delivered")
            assert chat.text.count("connection lost") == 1
            broker.end(signal.SIGKILL)
            until(lambda: chat.text.count("connection lost") == 2)
            chat.press("too late" + ENTER)
            chat.has("alice to bob: too late")
            chat.press(CTRL_D)
            assert chat.wait() == 3
            assert "1 message was not sent; the outbox keeps it:" in chat.text
            assert chat.text.rstrip().endswith("  to bob: too late")
        (waiting,) = ok(cli(env, "outbox", "--json")).data
        assert waiting["text"] == "too late"
        broker.close()
        broker = BrokerProcess(folder, port=broker.address.port)
        with chatting(env, "chat", "bob", prompt="bob>") as again:  # and bob, a guest, is not here any more
            again.has("alice [… queued]: too late")
            again.has("not sent to bob: was not here: too late")
    finally:
        broker.close()


@pytest.mark.parametrize("end", ["typing", "waiting", "terminated"])
def test_whoever_does_not_wait_is_told_what_was_not_sent(town: tuple[Path, Env, Env], end: str) -> None:
    folder, alice, _ = town
    with BrokerProcess(folder) as broker:
        env = {**broker.env, **alice}
        ok(cli(env, "init", "alice"))
        (folder / "report.bin").write_bytes(bytes(100_000))
        with listening(broker.env, "bob"), chatting(env, "chat", "bob", prompt="bob>") as chat:
            chat.has("connected; here: bob")
            broker.process.send_signal(signal.SIGSTOP)
            try:
                chat.press(f"/file {folder}/report.bin" + ENTER)
                chat.shows("report.bin 0 %")
                (upload,) = ok(cli(env, "outbox", "--json")).data
                assert (upload["name"], upload["under_way"]) == ("report.bin", True)
                assert (
                    "report.bin is under way in another program, and was left alone" in cli(env, "outbox", "drop", "--all").err
                )
                chat.press("too late" + ENTER)
                chat.has("alice to bob: too late")
                if end == "typing":
                    chat.press(CTRL_C)
                elif end == "waiting":
                    chat.press(CTRL_D)
                    chat.has("waiting for the broker to take what you sent; Ctrl-C ends it")
                    chat.process.send_signal(signal.SIGINT)
                else:
                    chat.process.send_signal(signal.SIGTERM)
                assert chat.wait() == (143 if end == "terminated" else 130)
            finally:
                broker.process.send_signal(signal.SIGCONT)
            assert "broken off: report.bin 0 %" in chat.text
            assert "1 message was not sent; the outbox keeps it" in chat.text
            assert chat.text.count("not sent") == 1
            assert "Traceback" not in chat.text
            assert chat.echoes
            left = {str(one["type"]): one for one in ok(cli(env, "outbox", "--json")).data}
            assert left["waiting"]["text"] == "too late"
            assert not left["upload"]["under_way"]
            ok(cli(env, "outbox", "drop", "--all"))
            assert ok(cli(env, "outbox", "--json")).data == []


def test_5_the_broker_had_no_room_for_a_file(tmp_path: Path) -> None:
    (tmp_path / "report.bin").write_bytes(bytes(2_000_000))
    with (
        BrokerProcess(tmp_path, "--files-each-user", "1M") as broker,
        listening(broker.env, "bob"),
        chatting(broker.env, "--as", "alice", "chat", "bob", prompt="bob>") as chat,
    ):
        chat.press(f"/file {tmp_path}/report.bin" + ENTER)
        chat.has("your room for files there is used up")
        chat.press("/users" + ENTER + CTRL_D)
        assert chat.wait() == 5
        assert "not sent" not in chat.text


def test_what_is_typed_before_the_next_line_begins_is_not_for_the_terminal(town: tuple[Path, Env, Env]) -> None:
    """It would show it, and take Ctrl-U or Ctrl-D for itself."""
    folder, alice, bob = town
    with BrokerProcess(folder) as broker:
        alice, bob = settled(broker, alice=alice, bob=bob)
        ok(cli(alice, "send", "bob", "so we have met"))
        (database,) = Path(alice["SECURECHAT_HOME"]).rglob("profile.db")
        with chatting(alice, "chat", "bob", prompt="bob>") as chat:
            chat.has("connected; here:")
            with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")  # so the line that is typed now has to wait
                chat.press("/block" + ENTER)
                limit = time.monotonic() + 1
                while time.monotonic() < limit:
                    assert not chat.echoes
                other.execute("ROLLBACK")
            chat.has("bob is blocked")
            chat.press(CTRL_D)
            assert chat.wait() == 0
            assert chat.echoes


def test_a_changed_key_is_told_with_what_to_type(town: tuple[Path, Env, Env]) -> None:
    folder, alice, bob = town
    with BrokerProcess(folder) as broker:
        alice, bob = settled(broker, alice=alice, bob=bob)
        ok(cli(alice, "send", "bob", "to the first bob"))
        release(broker, "bob")
        new = {**bob, "SECURECHAT_HOME": str(folder / "another")}
        until(lambda: cli(new, "init", "bob").code == 0)
        with listening(new, None, "--json") as other, chatting(alice, "chat", "bob", prompt="bob>") as chat:
            chat.has("connected; here: bob")
            chat.press("is it you?" + ENTER)
            chat.has("bob now uses another key than the one you know; nothing was sent to it")
            chat.has("is it you?", after="/verify bob; then accept it: /trust bob")  # it is not lost
            chat.press(CTRL_U + "/trust bob" + ENTER)
            chat.has("bob is now known by")
            chat.press("it is you" + ENTER)
            assert got(other, "it is you")["from"] == "alice"
            chat.press("/block" + ENTER)
            chat.has("bob is blocked; undo it with: /trust bob")
            chat.press("not for you" + ENTER)
            chat.has("You have blocked bob")
            chat.press(CTRL_U + "/trust bob" + ENTER)
            chat.has("bob is no longer blocked")
