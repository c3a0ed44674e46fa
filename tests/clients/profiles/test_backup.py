"""A profile that is backed up, lost and restored: what its peers see, and what becomes of mail; real processes."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from clients.backup import back_up as write_backup
from clients.keystore import Keystore
from clients.profiles import OpenProfile
from core.rsa import SigningKey
from tests.broker_process import BrokerProcess, Finished, Running, cli, cli_command, got, listening
from tests.clients.profiles.people import Env, home, number, ok, release
from tests.clients.test_database import ENDLESS
from tests.keys import private_key
from tests.net import until

Person = Callable[[str], Env]


def texts(done: Finished) -> list[str]:
    return [line["text"] for line in ok(done).data if line["type"] in ("message", "sent")]


def back_up(env: Env, path: Path) -> Finished:
    return ok(cli(env, "backup", str(path)))


def lose(env: Env) -> None:
    """The disk is gone."""
    shutil.rmtree(env["SECURECHAT_HOME"])


def folder(path: Path) -> list[str]:
    return sorted(one.name for one in path.iterdir()) if path.exists() else []


def place(message: dict[str, Any]) -> tuple[int, bool, bool]:
    return message["missing"], message["late"], message["fork"]


def test_peers_of_a_restored_profile_see_nothing_wrong(alice: Env, bob: Env, tmp_path: Path) -> None:
    kept = tmp_path / "alice.backup"
    with listening(bob, None, "--json") as there:
        for text in ("one", "two"):
            ok(cli(alice, "send", "bob", text))
        back_up(alice, kept)
        before = number(alice, "bob")
        for text in ("three", "four", "five"):
            ok(cli(alice, "send", "bob", text))
        got(there, "five")
        lose(alice)
        ok(cli(alice, "restore", str(kept)))
        assert texts(cli(alice, "history", "--json")) == ["one", "two"]
        for text in ("six", "seven"):
            done = ok(cli(alice, "send", "bob", text))
            assert "(delivered)" in done.err
        for text in ("one", "two", "three", "four", "five", "six", "seven"):
            assert place(got(there, f'"{text}"')) == (0, False, False)
        assert there.err.text.count("missing") == there.err.text.count("refused") == there.err.text.count("another key") == 0
        assert number(alice, "bob") == before


def test_2_standard_output_is_no_place_for_it(alice: Env) -> None:
    done = cli(alice, "backup", "-")
    assert (done.code, "name one" in done.err) == (2, True)


def test_mail_that_waited_arrives_or_is_named(alice: Env, bob: Env, tmp_path: Path) -> None:
    kept = tmp_path / "bob.backup"
    with listening(bob, None, "--json") as there:
        ok(cli(alice, "send", "bob", "one"))
        got(there, "one")
    back_up(bob, kept)
    with listening(bob, None, "--json") as there:
        ok(cli(alice, "send", "bob", "two"))
        got(there, "two")
    ok(cli(alice, "send", "bob", "three"))
    rotate(bob)
    ok(cli(bob, "listen", "-n", "1", "--json"))
    ok(cli(alice, "send", "bob", "written to a key that is lost"))
    lose(bob)
    ok(cli(bob, "restore", str(kept)))
    with listening(bob, None, "--json") as there:
        there.err.has("for a key that you do not have (check: recipient)")
        until(lambda: became_of_the_last(alice) == "refused")
        done = ok(cli(alice, "send", "bob", "--wait", "delivered", "and on"))
        assert "delivered" in done.err
        # "two" and "three" were read by the profile that is lost. The sender knows of the other one, and says so.
        assert place(got(there, "and on")) == (2, False, False)


def became_of_the_last(env: Env) -> str:
    """What became of the last message to bob, with the news that the broker has kept."""
    ok(cli(env, "users"))
    return str(ok(cli(env, "history", "bob", "--json")).data[-1]["recipients"]["bob"])


def rotate(env: Env) -> None:
    """Give bob a new encryption key, as a day does."""
    from clients.keystore import Keystore
    from core.rsa import OpeningKey

    store = Keystore(Path(env["SECURECHAT_HOME"]), "bob")
    store.update(None, lambda profile: profile.rotated(OpeningKey.generate(), profile.keys[-1].made))


def test_a_restored_profile_has_a_newer_bundle_than_the_lost_one(alice: Env, bob: Env, tmp_path: Path) -> None:
    kept = tmp_path / "bob.backup"
    back_up(bob, kept)
    for _ in range(3):
        rotate(bob)
    with listening(bob, None, "--json"):
        ok(cli(alice, "send", "bob", "alice has seen the newest bundle"))
    lose(bob)
    ok(cli(bob, "restore", str(kept)))
    with listening(bob, None, "--json") as there:
        assert "(delivered)" in ok(cli(alice, "send", "bob", "hello again")).err
        got(there, "hello again")


def test_mail_that_came_while_nobody_was_there_is_read_by_the_restored_profile(alice: Env, bob: Env, tmp_path: Path) -> None:
    kept = tmp_path / "bob.backup"
    back_up(bob, kept)
    ok(cli(alice, "send", "bob", "while you were away"))
    lose(bob)
    ok(cli(bob, "restore", str(kept)))
    done = ok(cli(bob, "listen", "-n", "1", "--json"))
    assert [(line["text"], *place(line)) for line in done.data] == [("while you were away", 0, False, False)]


def test_what_waited_to_be_sent_is_named_and_given_up(person: Person, tmp_path: Path) -> None:
    kept = tmp_path / "alice.backup"
    with BrokerProcess(tmp_path / "town") as broker:
        port = broker.address.port
        alice, bob = ({**broker.env, "SECURECHAT_HOME": str(tmp_path / who)} for who in ("alice", "bob"))
        ok(cli(alice, "init", "alice"))
        ok(cli(bob, "init", "bob"))
        ok(cli(alice, "send", "bob", "one"))
        broker.end(signal.SIGKILL)
    assert cli(alice, "send", "--timeout", "300ms", "bob", "two").code == 3
    back_up(alice, kept)
    with BrokerProcess(tmp_path / "town", port=port):
        ok(cli(alice, "outbox", "retry"))
        lose(alice)
        done = ok(cli(alice, "--json", "restore", str(kept)))
        (waiting,) = [line for line in ok(cli(alice, "history", "--json")).data if line["text"] == "two"]
        assert waiting["recipients"] == {"bob": "dropped"}
        (line,) = done.data
        assert (line["type"], line["user"], line["protected"], line["dropped"]) == ("restored", "alice", False, [waiting["id"]])
        assert "It is not protected" in done.err
        assert ok(cli(alice, "--json", "key")).data[0]["fingerprint"] == line["fingerprint"]
        assert waiting["id"] in done.err
        assert ok(cli(alice, "outbox", "--json")).data == []
        ok(cli(alice, "send", "bob", "three"))
        lines = ok(cli(bob, "listen", "-n", "3", "--json")).data
        assert [(line["text"], *place(line)) for line in lines] == [(text, 0, False, False) for text in ("one", "two", "three")]


def test_a_backup_of_a_profile_in_use_is_whole(alice: Env, bob: Env, tmp_path: Path) -> None:
    command = cli_command("listen", "--json")
    with Running(command, alice) as busy:
        busy.err.has("connected; here:")
        for count in range(5):
            ok(cli(bob, "send", "alice", f"message {count}"))
            back_up(alice, tmp_path / f"{count}.backup")
    for count in range(5):
        env = {**alice, "SECURECHAT_HOME": str(tmp_path / f"home {count}")}
        ok(cli(env, "restore", str(tmp_path / f"{count}.backup")))
        assert texts(cli(env, "history", "--json")) == [f"message {one}" for one in range(count + 1)]


def test_the_passphrase_protects_the_backup_too(broker: BrokerProcess, person: Person, tmp_path: Path) -> None:
    erin, word, other = person("erin"), tmp_path / "pass", tmp_path / "other"
    word.write_text("correct horse\n")
    other.write_text("battery staple\n")
    ok(cli(erin, "--passphrase-file", str(word), "init", "erin"))
    kept = tmp_path / "erin.backup"
    locked = cli(erin, "backup", str(kept))
    assert (locked.code, kept.exists()) == (9, False)
    done = ok(cli(erin, "--json", "--passphrase-file", str(word), "backup", str(kept)))
    assert done.data == [{"v": 1, "type": "backup", "user": "erin", "file": str(kept), "protected": True}]
    assert "not protected" not in done.err
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert b"SQLite" not in kept.read_bytes()
    lose(erin)
    assert cli(erin, "restore", str(kept)).code == 9
    assert cli(erin, "--passphrase-file", str(other), "restore", str(kept)).code == 9
    assert folder(Path(erin["SECURECHAT_HOME"])) == []
    ok(cli(erin, "--passphrase-file", str(word), "restore", str(kept)))
    assert cli(erin, "history").code == 9
    ok(cli(erin, "--passphrase-file", str(word), "users"))
    release(broker, "erin")


def test_nothing_is_overwritten_and_an_open_backup_says_so(alice: Env, tmp_path: Path) -> None:
    kept = tmp_path / "alice.backup"
    assert "whoever has this file is alice" in back_up(alice, kept).err
    raw = kept.read_bytes()
    again = cli(alice, "backup", str(kept))
    assert again.code == 1
    assert "is there already, and was left as it is" in again.err
    assert kept.read_bytes() == raw
    before = {path.name: path.read_bytes() for path in home(alice, "alice").iterdir()}
    done = cli(alice, "restore", str(kept))
    assert done.code == 1
    assert "There is a profile 'alice' already" in done.err
    assert {path.name: path.read_bytes() for path in home(alice, "alice").iterdir()} == before
    assert folder(Path(alice["SECURECHAT_HOME"])) == ["profiles"]
    assert folder(tmp_path) == ["alice", "alice.backup"]


def test_what_cannot_be_written_is_said(alice: Env, tmp_path: Path) -> None:
    done = cli(alice, "backup", str(tmp_path / "nowhere" / "alice.backup"))
    assert done.code == 1
    assert "was not written: No such file or directory" in done.err
    (tmp_path / "file").write_text("")
    back_up(alice, tmp_path / "alice.backup")
    done = cli({**alice, "SECURECHAT_HOME": str(tmp_path / "file")}, "restore", str(tmp_path / "alice.backup"))
    assert done.code == 1
    assert "cannot be written" in done.err


def test_a_disk_that_is_full_leaves_nothing_half_written(alice: Env, tmp_path: Path) -> None:
    kept = tmp_path / "alice.backup"

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, 64 * 1024))  # a profile's database is larger

    full = cli(alice, "backup", str(kept), preexec_fn=little_room)
    assert full.code == 1
    assert f"{kept} was not written: File too large" in full.err
    assert folder(tmp_path) == ["alice"]
    back_up(alice, kept)
    lose(alice)
    full = cli(alice, "restore", str(kept), preexec_fn=little_room)
    assert full.code == 1
    assert "cannot be written: File too large" in full.err
    assert folder(Path(alice["SECURECHAT_HOME"])) == []
    ok(cli(alice, "restore", str(kept)))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda raw: raw[:0], "is no backup of a profile"),
        (lambda raw: b"SQLite format 3\0" + raw, "is no backup of a profile"),
        (lambda raw: raw[:24], "is damaged or not all there"),
        (lambda raw: raw[: len(raw) // 2], "is damaged or not all there"),
        (lambda raw: raw[:-1], "is damaged or not all there"),
        (lambda raw: raw + b"\0", "is damaged or not all there"),
        (lambda raw: raw[:20] + b"\xff\xff\xff\xff" + raw[24:], "is damaged or not all there"),
        (lambda raw: raw[:600] + bytes([raw[600] ^ 1]) + raw[601:], "is damaged or not all there"),
        (lambda raw: raw[:-100] + bytes([raw[-100] ^ 1]) + raw[-99:], "is damaged or not all there"),
    ],
    ids=[
        "empty",
        "foreign",
        "cut in the head",
        "cut",
        "cut at the end",
        "longer",
        "lying length",
        "bit of keys",
        "bit of data",
    ],
)
def test_what_is_no_whole_backup_leaves_nothing_behind(
    alice: Env, tmp_path: Path, harm: Callable[[bytes], bytes], said: str
) -> None:
    kept = tmp_path / "alice.backup"
    back_up(alice, kept)
    kept.write_bytes(harm(kept.read_bytes()))
    lose(alice)
    done = cli(alice, "restore", str(kept))
    assert done.code == 1
    assert said in done.err
    assert folder(Path(alice["SECURECHAT_HOME"])) == []


def test_a_pipe_is_no_backup_and_is_not_waited_for(person: Person, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    done = cli(person("nobody"), "restore", str(tmp_path / "pipe"))
    assert done.code == 1
    assert "it is not a regular file" in done.err


def test_parts_of_two_backups_do_not_make_one(person: Person, alice: Env, bob: Env, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    back_up(alice, one)
    back_up(alice, other)
    assert len(one.read_bytes()) == len(other.read_bytes())
    half = len(one.read_bytes()) // 2
    mixed = tmp_path / "mixed"
    mixed.write_bytes(one.read_bytes()[:half] + other.read_bytes()[half:])
    lose(alice)
    assert "is damaged" in cli(alice, "restore", str(mixed)).err
    assert "cannot be read" not in cli(alice, "restore", str(tmp_path / "none")).err
    assert "No such file" in cli(alice, "restore", str(tmp_path / "none")).err


def test_a_database_that_would_run_something_is_not_put_back(alice: Env, tmp_path: Path) -> None:
    with contextlib.closing(OpenProfile(Path(alice["SECURECHAT_HOME"]), "alice", None)) as profile:
        profile.store.query("DROP TABLE outbox")
        profile.store.query(f"CREATE VIEW outbox (number, mid, body) AS {ENDLESS.replace('count(*)', '1, 2, 3')}")
        write_backup(profile, tmp_path / "alice.backup")
    lose(alice)
    done = cli(alice, "restore", str(tmp_path / "alice.backup"))
    assert done.code == 1
    assert "is no backup of a profile: its database is not one that SecureChat makes. Nothing was restored." in done.err
    assert folder(Path(alice["SECURECHAT_HOME"])) == []


def test_keys_that_are_none_are_not_put_back(alice: Env, tmp_path: Path) -> None:
    """Whoever has no passphrase to know can make such a backup."""
    where = Path(alice["SECURECHAT_HOME"])
    Keystore(where, "alice").update(None, lambda profile: replace(profile, signing=no_key()))
    with contextlib.closing(OpenProfile(where, "alice", None)) as profile:
        write_backup(profile, tmp_path / "alice.backup")
    lose(alice)
    done = cli(alice, "restore", str(tmp_path / "alice.backup"))
    assert done.code == 1
    assert "is damaged or not all there. Nothing was restored." in done.err
    assert folder(where) == []


def no_key() -> SigningKey:
    """What has the form of a key; its private exponent is that of none."""
    numbers = private_key("alice", "ik").private_numbers()
    other = rsa.RSAPrivateNumbers(
        numbers.p, numbers.q, numbers.d + 2, numbers.dmp1, numbers.dmq1, numbers.iqmp, numbers.public_numbers
    )
    return SigningKey(other.private_key(unsafe_skip_rsa_key_validation=True))


def test_a_database_of_many_chunks_comes_back(alice: Env, tmp_path: Path) -> None:
    kept = tmp_path / "alice.backup"
    profile = OpenProfile(Path(alice["SECURECHAT_HOME"]), "alice", None)
    noise = os.urandom(1_500_000).hex()
    profile.store.set_setting("noise", noise)
    profile.close()
    back_up(alice, kept)
    assert kept.stat().st_size > 2**20 * 2
    lose(alice)
    ok(cli(alice, "restore", str(kept)))
    profile = OpenProfile(Path(alice["SECURECHAT_HOME"]), "alice", None)
    assert profile.store.setting("noise") == noise
    profile.close()


def test_what_others_have_laid_in_its_way_is_not_written_to(tmp_path: Path) -> None:
    from clients.new_file import new_file

    before = set(tmp_path.iterdir())
    with new_file(tmp_path / "here") as file:
        (draft,) = set(tmp_path.iterdir()) - before
        assert str(os.getpid()) not in draft.name
        assert stat.S_IMODE(draft.stat().st_mode) == 0o600
        file.write(b"mine")
    with new_file(tmp_path / ("x" * 255)) as file:  # the longest name that there is
        file.write(b"mine, too")
    assert {one.name for one in set(tmp_path.iterdir()) - before} == {"here", "x" * 255}


def test_a_file_system_without_links_does_as_well(alice: Env, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from clients.new_file import new_file
    from core.errors import AlreadyThere

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with new_file(tmp_path / "here") as file:
        file.write(b"whole")
    assert (tmp_path / "here").read_bytes() == b"whole"
    late = contextlib.ExitStack()
    late.enter_context(new_file(tmp_path / "late")).write(b"mine")
    (tmp_path / "late").write_bytes(b"somebody else's")
    with pytest.raises(AlreadyThere):
        late.close()
    assert (tmp_path / "late").read_bytes() == b"somebody else's"
    assert folder(tmp_path) == ["alice", "here", "late"]
