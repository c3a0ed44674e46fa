"""The administrator's commands, beside a broker that runs and without one."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.admin import read_ledger
from broker.files import data_folder, load_or_make_keys
from broker.storage import LOG_NAME, open_log
from core.address import BrokerAddress
from core.names import short_fingerprint
from core.places import FILE_NAME, ConnectionFile, encode_connection_file
from tests.broker_process import BrokerProcess, Finished, admin, cli, environment, listening
from tests.net import until


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    with BrokerProcess(tmp_path_factory.mktemp("admin")) as running:
        yield running


@pytest.fixture
def env(broker: BrokerProcess, tmp_path: Path) -> dict[str, str]:
    """Somebody with profiles of their own, who finds the broker."""
    return {**broker.env, "SECURECHAT_HOME": str(tmp_path / "profiles of mine")}


def run(broker: BrokerProcess, *args: str) -> Finished:
    return admin(broker.data, broker.env, *args)


def ok(done: Finished) -> str:
    assert done.code == 0, done.err
    return done.out


def invite_name(done: Finished) -> str:
    found = re.search(r"revoke it with: securechat-broker revoke ([0-9a-f]{8})", done.err)
    assert found, done.err
    return found[1]


def test_an_invite_is_one_line_with_a_secret_of_its_own(broker: BrokerProcess) -> None:
    first, second = run(broker, "invite"), run(broker, "invite")
    one, other = BrokerAddress.parse(ok(first)), BrokerAddress.parse(ok(second))
    assert first.out.count("\n") == 1
    assert (one.key, one.port) == (broker.address.key, broker.address.port)
    assert one.invite is not None
    assert one.invite != other.invite
    assert one.where != ""
    raw = b"".join(path.read_bytes() for path in broker.data.iterdir() if path.is_file())
    assert one.invite not in raw  # the broker keeps the public half only
    assert first.out.strip().rpartition("/")[2].encode() not in raw


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", True), ("0.0.0.0", False)])
def test_an_invite_to_a_broker_that_nobody_else_can_reach_says_so(tmp_path: Path, host: str, warned: bool) -> None:
    with data_folder(tmp_path / "data") as folder:
        open_log(folder / LOG_NAME).close()
        keys, env = load_or_make_keys(folder), environment(tmp_path)
        described = ConnectionFile.describe(host, 4242, keys.public, os.getpid())
        (folder / FILE_NAME).write_bytes(encode_connection_file(described))
        made = admin(folder, env, "invite")
        assert BrokerAddress.parse(ok(made)).port == 4242
        assert ("where no other machine reaches it" in made.err) is warned
        assert "where no other machine reaches it" not in admin(folder, env, "invite", "--host", "tunnel.example.org").err


@pytest.mark.parametrize("host", ["", "bad/host", "a b", "127.0.0.1:5", "[::1]:5"])
def test_no_invite_is_made_that_nobody_could_use(broker: BrokerProcess, host: str) -> None:
    before = run(broker, "invites").out
    done = run(broker, "invite", "--host", host)
    assert done.code == 1
    assert "No invite was made" in done.err
    assert run(broker, "invites").out == before
    assert BrokerAddress.parse(ok(run(broker, "invite", "--host", "::1"))).hosts == ("[::1]",)


def test_invites_are_listed_with_what_is_left_of_them(broker: BrokerProcess) -> None:
    began = time.time()
    made = run(broker, "invite", "--uses", "3", "--days", "2", "--host", "chat.example.org")
    days = {time.strftime("%Y-%m-%d", time.localtime(moment + 2 * 86_400)) for moment in (began, time.time())}
    assert BrokerAddress.parse(ok(made)).hosts == ("chat.example.org",)
    name = invite_name(made)
    line = next(line for line in ok(run(broker, "invites")).splitlines() if line.startswith(name))
    assert any(line.startswith(f"{name}  used 0 of 3, until {day}") for day in days)
    ok(run(broker, "revoke", name.upper()))
    line = next(line for line in ok(run(broker, "invites")).splitlines() if line.startswith(name))
    assert line == f"{name}  revoked"


@pytest.mark.parametrize("name", ["", "00000000", "nonsense", "0000"])
def test_an_invite_that_is_none_cannot_be_revoked(broker: BrokerProcess, name: str) -> None:
    done = run(broker, "revoke", name)
    assert done.code == 1
    assert "There is no invite" in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("invite", "--uses", "0"),
        ("invite", "--uses", "10001"),
        ("invite", "--days", "0"),
        ("revoke",),
        ("release",),
        ("release", "bob", "carol"),
        ("dismiss", "bob"),
    ],
    ids=" ".join,
)
def test_wrong_usage(broker: BrokerProcess, arguments: tuple[str, ...]) -> None:
    done = run(broker, *arguments)
    assert done.code == 2
    assert "Usage:" in done.err


def test_profiles_are_listed_and_released_while_it_runs(broker: BrokerProcess, env: dict[str, str]) -> None:
    assert cli(env, "init", "alice").code == 0
    (line,) = [line for line in ok(run(broker, "users")).splitlines() if line.startswith("alice ")]
    owner = read_ledger(broker.data).owner("alice")
    assert owner is not None
    assert short_fingerprint(bytes.fromhex(cli(env, "key", "--json").data[0]["fingerprint"].replace(" ", ""))) in line

    mine = {**env, "SECURECHAT_HOME": env["SECURECHAT_HOME"] + " too"}
    assert cli(mine, "init", "alice").code == 6
    done = run(broker, "release", "alice")
    ok(done)
    assert "alice is released" in done.err
    assert not [line for line in ok(run(broker, "users")).splitlines() if line.startswith("alice ")]
    # The broker, which runs on, hears of it by itself.
    until(lambda: cli(mine, "init", "alice").code == 0)
    refused = cli(env, "users")
    assert refused.code == 6
    assert "in use by somebody else" in refused.err


def test_a_name_that_nobody_holds_cannot_be_released(broker: BrokerProcess) -> None:
    with listening(broker.env, "guest"):
        for name in ("guest", "nobody"):
            done = run(broker, "release", name)
            assert done.code == 1
            assert f"No profile holds the name {name}" in done.err
    done = run(broker, "release", "Not A Name")
    assert done.code == 1
    assert "not a username" in done.err


@pytest.mark.parametrize("command", [("invite",), ("invites",), ("revoke", "00000000"), ("users",), ("release", "bob")])
def test_a_folder_where_no_broker_ever_ran_stays_as_it_is(tmp_path: Path, broker: BrokerProcess, command: list[str]) -> None:
    done = admin(tmp_path / "nothing", broker.env, *command)
    assert done.code == 1
    assert "No broker has ever run" in done.err
    assert not (tmp_path / "nothing").exists()


def test_the_commands_work_while_no_broker_runs_and_it_finds_what_they_did(tmp_path: Path) -> None:
    with BrokerProcess(tmp_path) as first:
        mine = {**first.env, "SECURECHAT_HOME": str(tmp_path / "mine")}
        theirs = {**first.env, "SECURECHAT_HOME": str(tmp_path / "theirs")}
        assert cli(mine, "init", "alice").code == 0
        assert first.end() == 0
    ok(run(first, "release", "alice"))
    name = invite_name(run(first, "invite"))
    with BrokerProcess(tmp_path) as second:
        assert name in ok(run(second, "invites"))
        assert cli(theirs, "init", "alice").code == 0
        assert cli(mine, "--broker", second.address.url, "users").code == 6
        assert second.end() == 0


def test_what_was_claimed_outlives_a_broker_that_is_killed(tmp_path: Path) -> None:
    with BrokerProcess(tmp_path) as first:
        mine = {**first.env, "SECURECHAT_HOME": str(tmp_path / "mine")}
        assert cli(mine, "init", "alice").code == 0
        first.process.kill()
        first.wait()
    with BrokerProcess(tmp_path) as second:
        assert cli({**mine, "SECURECHAT_HOME": str(tmp_path / "theirs")}, "init", "alice").code == 6
        assert cli(mine, "--broker", second.address.url, "users").code == 0
        assert second.end() == 0


def test_a_damaged_log_keeps_the_broker_from_starting(tmp_path: Path) -> None:
    with BrokerProcess(tmp_path) as first:
        assert first.end() == 0
    (first.data / "names.db").write_bytes(b"not a log" * 1000)
    for done in (run(first), run(first, "users"), run(first, "invite")):
        assert done.code == 1
        assert "names.db" in done.err
    assert (first.data / "names.db").read_bytes() == b"not a log" * 1000
