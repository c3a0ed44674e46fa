"""Files on the command line: real processes, a real broker, and everything that can be wrong with a file."""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from clients.chat import ChatClient
from clients.exits import LIMIT, NETWORK, OK, OTHER, USAGE
from core.encoding import b64url
from core.limits import FILE_CHUNK
from core.messages import Mode
from tests.broker_process import ROOT, BrokerProcess, cli, listening
from tests.net import PATIENCE, until

Env = dict[str, str]
People = tuple[str, str]
_NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    with BrokerProcess(tmp_path_factory.mktemp("broker"), "--files-each-user", "40M") as one:
        yield one


@pytest.fixture
def people(broker: BrokerProcess) -> tuple[str, str]:
    """Two new profiles: who sends, and who gets it."""
    number = next(_NUMBERS)
    names = f"alice{number}", f"bob{number}"
    for name in names:
        assert cli(broker.env, "init", name).code == OK
    return names


@pytest.fixture
def env(broker: BrokerProcess) -> dict[str, str]:
    return broker.env


def blobs(broker: BrokerProcess) -> int:
    """How many whole files the broker has."""
    with sqlite3.connect(f"file:{broker.data / 'blobs.db'}?mode=ro", uri=True) as database:
        ((count,),) = database.execute("SELECT count(*) FROM blobs WHERE upto = size").fetchall()
    database.close()
    return int(count)


def a_file(folder: Path, name: str = "report.pdf", size: int = 3 * FILE_CHUNK + 17) -> Path:
    path = folder / name
    path.write_bytes(os.urandom(size))
    return path


def test_a_file_waits_for_who_is_away_and_is_saved_once(env: Env, people: People, tmp_path: Path) -> None:
    alice, bob = people
    path, into = a_file(tmp_path), tmp_path / "in"
    done = cli(env, "--profile", alice, "--json", "send", bob, "see this", "-f", str(path), "-f", str(a_file(tmp_path, "b", 0)))
    assert done.code == OK, done.err
    assert [one.get("content", "text") for one in done.data] == ["text", "file", "file"]
    assert done.data[1]["file"]["name"] == "report.pdf"
    assert done.data[1]["file"]["size"] == path.stat().st_size
    taken = cli(env, "--profile", bob, "--json", "listen", "-n", "3", "--timeout", "60s", "--download", str(into))
    assert taken.code == OK, taken.err
    assert [one.get("saved") for one in taken.data] == [None, str(into / "report.pdf"), str(into / "b")]
    assert (into / "report.pdf").read_bytes() == path.read_bytes()
    assert (into / "b").read_bytes() == b""
    assert (into / "report.pdf").stat().st_mode & 0o077 == 0
    assert "key" not in taken.out
    # Fetched again by its id: what is there already is it; another file of that name is left alone.
    id_ = taken.data[1]["id"]
    again = cli(env, "--profile", bob, "download", id_, "--to", str(into))
    assert (again.code, again.out) == (OK, f"{into / 'report.pdf'}\n")
    (into / "report.pdf").write_bytes(b"mine")
    again = cli(env, "--profile", bob, "--json", "download", id_, "--to", str(into))
    assert again.data == [{"v": 1, "type": "saved", "id": id_, "saved": str(into / "report (2).pdf")}]
    assert (into / "report.pdf").read_bytes() == b"mine"
    assert (into / "report (2).pdf").read_bytes() == path.read_bytes()
    assert sorted(one.name for one in into.iterdir()) == ["b", "report (2).pdf", "report.pdf"]
    history = cli(env, "--profile", bob, "history", "--search", "report.pdf")
    assert "[file] report.pdf (3.1 MB)" in history.out


def test_everyone_gets_a_file_that_was_uploaded_once(env: dict[str, str], broker: BrokerProcess, tmp_path: Path) -> None:
    path = a_file(tmp_path, "for-all.bin", FILE_CHUNK)
    guests = [f"guest{at}" for at in range(20)]
    before = blobs(broker)
    with contextlib.ExitStack() as stack:
        into = [("-n", "1", "--download", str(tmp_path / name)) for name in guests]
        listeners = [stack.enter_context(listening(env, name, *where)) for name, where in zip(guests, into, strict=True)]
        command = ["--as", "sender", "--json", "send", "--everyone", "-f", str(path), "--wait", "delivered", "--timeout", "60s"]
        done = cli(env, *command)
        assert set(guests) <= set(done.data[-1]["recipients"])
        for listener in listeners:
            assert listener.wait() == OK
    assert blobs(broker) == before + 1
    for name in guests:
        assert (tmp_path / name / "for-all.bin").read_bytes() == path.read_bytes()


BROKEN_OFF = """
import sys
from pathlib import Path
from clients import files
fill = files._Sending._fill
def some(self):
    if self._upload.upto > 2 * 1024 * 1024:
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)
    fill(self)
files._Sending._fill = some
from clients.cli import main
sys.argv[0] = 'securechat-cli'
main()
"""


def broken_off(env: dict[str, str], *args: str, by: str = "SIGKILL", code: int = -9) -> str:
    """A `send` that gets a signal when a part of its file is at the broker; returns what it said."""
    script = BROKEN_OFF.replace("SIGKILL", by)
    done = subprocess.run(
        [sys.executable, "-c", script, *args], env=env, cwd=ROOT, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == code, done.stderr.decode()
    return done.stderr.decode()


def time_passes(env: dict[str, str]) -> None:
    """Until nobody takes an upload of a killed program for one that is under way."""
    for path in Path(env["HOME"]).rglob("profiles/*/*.db"):
        with contextlib.closing(sqlite3.connect(path, timeout=60)) as database, database:
            database.execute("UPDATE uploads SET held = held - 90000")


def incomplete(broker: BrokerProcess) -> list[int]:
    """How far each upload is that is under way."""
    database = sqlite3.connect(f"file:{broker.data / 'blobs.db'}?mode=ro", uri=True)
    found = [int(upto) for (upto,) in database.execute("SELECT upto FROM blobs WHERE upto < size")]
    database.close()
    return found


def test_an_id_that_two_have_used_is_nobodys(env: Env, people: People, broker: BrokerProcess, tmp_path: Path) -> None:
    """Whoever gets a message knows its id, and could have their own file taken for that one's."""
    _, bob = people
    id_, files = os.urandom(16), {"honest": b"real", "mallory": b"evil"}
    for name, content in files.items():
        (tmp_path / "report.txt").write_bytes(content)
        with ChatClient(name, broker.address, mode=Mode.SEND, events=False) as client:
            sent = client.send(client.files.upload(tmp_path / "report.txt"), bob, id_=id_)
            assert client.wait_sent(sent, PATIENCE)[bob].safe
    arrived = ("--profile", bob, "--json", "listen", "--since", "all", "-n", "2", "--timeout", "30s")
    until(lambda: len(cli(env, *arrived).data) == 2)
    download = ("--profile", bob, "download", b64url(id_), "--to", str(tmp_path / "in"))
    done = cli(env, *download)
    assert done.code == USAGE
    assert "honest and mallory have each sent a file with the id" in done.err
    assert cli(env, *download, "--from", "honest").code == OK
    assert (tmp_path / "in" / "report.txt").read_bytes() == b"real"


def test_an_upload_that_was_broken_off_goes_on(env: Env, people: People, broker: BrokerProcess, tmp_path: Path) -> None:
    alice, bob = people
    path, into = a_file(tmp_path, "long.bin", 12 * FILE_CHUNK), tmp_path / "in"
    command = ["--profile", alice, "send", bob, "-f", str(path)]
    broken_off(env, *command)
    (upto,) = incomplete(broker)
    assert upto > 2 * FILE_CHUNK
    assert cli(env, *command).code == OK
    assert incomplete(broker) == []
    taken = cli(env, "--profile", bob, "--json", "listen", "-n", "1", "--timeout", "60s", "--download", str(into))
    assert taken.code == OK, taken.err
    assert (into / "long.bin").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(("by", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_nothing_is_doubled_when_a_command_that_was_broken_off_is_given_again(
    env: Env, people: People, tmp_path: Path, by: str, code: int
) -> None:
    alice, bob = people
    short, long = a_file(tmp_path, "short.bin", 10), a_file(tmp_path, "long.bin", 12 * FILE_CHUNK)
    command = ["--profile", alice, "send", bob, "two files", "-f", str(short), "-f", str(long)]
    said = broken_off(env, *command, by=by, code=code)
    assert said.strip() == "broken off: nothing was sent; the same command goes on where the upload was"
    assert cli(env, "--profile", alice, "--json", "history").data == []
    assert cli(env, *command).code == OK
    sent = cli(env, "--profile", alice, "--json", "history").data
    assert [one.get("text") or one["file"]["name"] for one in sent] == ["two files", "short.bin", "long.bin"]
    assert cli(env, "--profile", alice, "--json", "outbox").data == []


def test_nothing_is_uploaded_for_whom_nothing_is_to_be_sent(env: Env, people: People, tmp_path: Path) -> None:
    alice, bob = people
    path = str(a_file(tmp_path))
    refused = cli(env, "--profile", alice, "--json", "send", "--verified-only", bob, "-f", path)
    assert refused.data[-1]["error"] == "NotVerified"
    refused = cli(env, "--profile", alice, "--json", "send", "--verified-only", "--everyone", "-f", path)
    assert refused.data[-1]["error"] == "NobodyVerified"
    assert cli(env, "--profile", alice, "send", bob, "met").code == OK
    assert cli(env, "--profile", alice, "block", bob).code == OK
    refused = cli(env, "--profile", alice, "--json", "send", bob, "-f", path)
    assert refused.data[-1]["error"] == "PeerBlocked"
    assert cli(env, "--profile", alice, "--json", "outbox").data == [], "no upload was begun"


def test_an_upload_that_was_broken_off_is_shown_and_given_up(
    env: Env, people: People, broker: BrokerProcess, tmp_path: Path
) -> None:
    alice, bob = people
    as_alice = ("--profile", alice, "--json")
    path = a_file(tmp_path, "half.bin", 12 * FILE_CHUNK)
    broken_off(env, "--profile", alice, "send", bob, "-f", str(path))
    (upload,) = cli(env, *as_alice, "outbox").data
    assert upload["under_way"]  # for all that others know
    done = cli(env, *as_alice, "outbox", "drop", "--all")
    assert "the upload of half.bin is under way in another program, and was left alone" in done.err
    assert done.code == OTHER
    time_passes(env)
    shown = cli(env, *as_alice, "outbox")
    (upload,) = shown.data
    assert not upload["under_way"]
    assert (upload["type"], upload["name"], upload["size"]) == ("upload", "half.bin", path.stat().st_size)
    assert 0 < int(str(upload["done"])) < path.stat().st_size
    assert "goes on when its file is sent again" in shown.err
    assert "upload of half.bin" in cli(env, "--profile", alice, "outbox").out
    assert len(incomplete(broker)) == 1
    assert cli(env, *as_alice, "outbox", "drop", str(upload["id"])).code == OK
    until(lambda: incomplete(broker) == [])
    assert cli(env, *as_alice, "outbox").data == []


def test_an_upload_is_given_up_without_a_broker_too(env: Env, people: People, broker: BrokerProcess, tmp_path: Path) -> None:
    alice, bob = people
    broken_off(env, "--profile", alice, "send", bob, "-f", str(a_file(tmp_path, "half.bin", 12 * FILE_CHUNK)))
    time_passes(env)
    nowhere = replace(broker.address, port=9).url  # the discard port: nothing answers there
    done = cli(env, "--profile", alice, "--broker", nowhere, "outbox", "drop", "--all")
    assert done.code == OK, done.err
    assert "the broker was not told" in done.err
    assert cli(env, "--profile", alice, "--json", "outbox").data == []


def test_a_file_that_changed_after_its_upload_was_broken_off_is_another(env: Env, people: People, tmp_path: Path) -> None:
    """Same name, size and time of change, other content: what the broker has of it must not go out as its beginning."""
    alice, bob = people
    path = a_file(tmp_path, "changed.bin", 12 * FILE_CHUNK)
    command = ["--profile", alice, "send", bob, "-f", str(path)]
    broken_off(env, *command)
    about = path.stat()
    with path.open("r+b") as file:
        file.write(b"other")
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    done = cli(env, *command)
    assert done.code == OTHER
    assert "was changed while it was being sent. Nothing was sent." in done.err
    assert cli(env, *command).code == OK  # from its beginning


def test_what_cannot_be_sent_says_why_and_sends_nothing(env: Env, people: People, tmp_path: Path) -> None:
    alice, bob = people
    secret = a_file(tmp_path, "secret", 10)
    bad = tmp_path / "a\nb"
    bad.write_bytes(b"x")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, why in (
        (tmp_path / "none", "No such file"),
        (tmp_path, "it is a folder"),
        (pipe, "not a regular file"),
        (bad, "cannot be a file's name"),
        (Path("/dev/null"), "not a regular file"),
    ):
        done = cli(env, "--profile", alice, "--json", "send", bob, "hello", "-f", str(secret), "-f", str(path))
        assert done.code in (OTHER, USAGE), (path, done.err)
        assert why in done.err, (path, done.err)
        assert [one["type"] for one in done.data] == ["error"], "nothing goes out before all of it can be read"


def test_over_quota_is_refused_with_a_sentence(env: Env, people: People, broker: BrokerProcess, tmp_path: Path) -> None:
    alice, bob = people
    path = tmp_path / "sparse.bin"
    with path.open("wb") as file:
        file.truncate(42_000_000)
    before = blobs(broker)
    done = cli(env, "--profile", alice, "send", bob, "-f", str(path))
    assert done.code == LIMIT
    assert "The broker does not take sparse.bin: your room for files there is used up. Nothing was sent." in done.err
    assert blobs(broker) == before


def test_a_file_that_the_broker_has_no_more_is_said_to_be_gone(
    env: Env, people: People, broker: BrokerProcess, tmp_path: Path
) -> None:
    alice, bob = people
    path = a_file(tmp_path, "soon-gone.bin", 1000)
    assert cli(env, "--profile", alice, "send", bob, "-f", str(path)).code == OK
    taken = cli(env, "--profile", bob, "--json", "listen", "-n", "1", "--timeout", "60s")
    for one in sorted((broker.data / "blobs").rglob("*"), key=lambda one: one.stat().st_mtime, reverse=True):
        if one.is_file() and one.stat().st_size == 1032:
            one.unlink()
            break
    done = cli(env, "--profile", bob, "download", taken.data[0]["id"], "--to", str(tmp_path / "in"))
    assert done.code == OTHER
    assert "The broker does not have soon-gone.bin, or no longer." in done.err
    assert not (tmp_path / "in" / "soon-gone.bin").exists()


@pytest.mark.parametrize("command", [("download",), ("outbox", "drop")])
def test_an_id_may_begin_like_an_option(env: Env, people: People, command: tuple[str, ...]) -> None:
    alice, _ = people
    for id_ in ("-q34567890123456789012", "--json7890123456789012"):
        done = cli(env, *command, id_, "--profile", alice)
        assert done.code == USAGE
        assert f"the id {id_} " in done.err


def test_a_folder_that_cannot_be_written_loses_nothing(env: Env, people: People, tmp_path: Path) -> None:
    alice, bob = people
    path = a_file(tmp_path, "kept.bin", 1000)
    assert cli(env, "--profile", alice, "send", bob, "-f", str(path)).code == OK
    into = tmp_path / "file-not-folder"
    into.write_bytes(b"")
    refused = cli(env, "--profile", bob, "--json", "listen", "-n", "1", "--timeout", "60s", "--download", str(into / "x"))
    assert (refused.code, refused.data[-1]["error"]) == (OTHER, "NotWritten")
    taken = cli(env, "--profile", bob, "--json", "listen", "-n", "1", "--timeout", "60s", "--download", str(tmp_path / "in"))
    assert taken.code == OK, taken.err
    assert Path(taken.data[0]["saved"]).read_bytes() == path.read_bytes()


def test_a_guest_cannot_fetch_later_and_is_told_how(env: dict[str, str]) -> None:
    done = cli(env, "--as", "someone", "download", "AAAAAAAAAAAAAAAAAAAAAA")
    assert done.code == USAGE
    assert "listen --download" in done.err


def test_without_a_broker_neither_the_file_nor_its_text_is_kept_and_that_is_said(env: dict[str, str], tmp_path: Path) -> None:
    del env
    home = tmp_path / "home"
    with BrokerProcess(home) as own:
        assert cli(own.env, "init", "carol").code == OK
        assert cli(own.env, "init", "dora").code == OK
        there = own.env
        url = own.address.url
    away = {**there, "SECURECHAT_BROKER": url}
    for text in ((), ("the numbers",)):
        done = cli(away, "--profile", "carol", "--json", "send", "dora", *text, "-f", str(a_file(tmp_path)))
        assert done.code == NETWORK, done.err
        assert done.data[-1]["error"] == "BrokerUnreachable"
        assert "nothing was sent, nor will be later: give the same command again" in done.err
    assert cli(away, "--profile", "carol", "--json", "outbox").data == []


def test_progress_is_for_terminals(env: Env, people: People, tmp_path: Path) -> None:
    _, bob = people
    parent, child = os.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "clients", "--as", "tess", "send", bob, "-f", str(a_file(tmp_path, "shown.bin"))],
            env=env, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=child,
        )  # fmt: skip
        shown = bytearray()
        os.set_blocking(parent, False)

        def there() -> bool:
            with contextlib.suppress(BlockingIOError):
                shown.extend(os.read(parent, 65_536))
            return process.poll() is not None

        until(there, "send did not end")
    finally:
        os.close(child)
        os.close(parent)
    assert b"shown.bin" in shown
    assert b"%" in shown
    quiet = cli(env, "--as", "tess", "send", bob, "-f", str(a_file(tmp_path, "quiet.bin")))
    assert "%" not in quiet.err
