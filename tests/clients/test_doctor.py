"""``securechat-cli doctor``: each thing that can be wrong is said, with what to do, and nothing is touched."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker.curve import new_curve_keys
from clients.backup import DRAFT
from clients.doctor import Finding, check_home, check_terminal
from clients.keystore import Keystore
from core.address import BrokerAddress
from core.encoding import b64url
from core.places import FILE_NAME
from tests.broker_process import ROOT, BrokerProcess, Finished, cli, environment
from tests.net import HERE

Env = dict[str, str]


@pytest.fixture
def env(tmp_path: Path) -> Env:
    return environment(tmp_path, SECURECHAT_HOME=str(tmp_path / "people"))


def folder(env: Env, name: str = "alice") -> Path:
    return Path(env["SECURECHAT_HOME"]) / "profiles" / name


def made(env: Env, name: str = "alice", *options: str) -> Env:
    done = cli(env, "init", name, *options)
    assert done.code == 0, done.err
    return env


def doctor(env: Env, *options: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Its exit code, and what it found by check and profile."""
    done = cli(env, "doctor", "--json", *options)
    assert all((one["v"], one["type"]) == (1, "check") for one in done.data)
    found = {one["check"] + (f" of {one['profile']}" if one["profile"] else ""): one for one in done.data}
    assert len(found) == len(done.data)
    assert done.code == (0 if all(one["ok"] for one in found.values()) else 1)
    assert done.err == ""
    return done.code, found


def only(env: Env, check: str, *options: str) -> tuple[str, str]:
    """The one thing that is wrong, and what to do about it."""
    code, found = doctor(env, *options)
    assert code == 1
    assert [name for name, one in found.items() if not one["ok"]] == [check]
    return found[check]["text"], found[check]["advice"]


def test_all_is_well(env: Env, tmp_path: Path) -> None:
    with BrokerProcess(tmp_path) as broker:
        made(env)
        code, found = doctor(env)
        assert code == 0
        assert list(found) == [
            *("python", "libraries", "terminal", "home"),
            *("keystore of alice", "database of alice", "outbox of alice", "broker", "connection"),
        ]
        assert "not locked" in found["keystore of alice"]["text"]
        assert "nothing waits" in found["outbox of alice"]["text"]
        assert found["broker"]["text"] == f"{broker.address.where} runs on this machine"
        assert "cryptography " in found["libraries"]["text"]
        said = cli(env, "doctor")
        assert said.code == 0
        assert [line.split()[0] for line in said.out.splitlines()] == ["ok"] * len(found)


def test_a_config_file_that_is_not_understood_is_a_finding(env: Env, tmp_path: Path) -> None:
    path = tmp_path / "config" / "securechat" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text("home = 'relative'")
    env = {**env, "XDG_CONFIG_HOME": str(tmp_path / "config")}
    text, advice = only(env, "config file")
    assert "it must begin with / or ~" in text
    assert advice == "Mend that line."


def test_a_guest_needs_a_broker_and_no_profile(env: Env, tmp_path: Path) -> None:
    text, advice = only(env, "broker")
    assert "none of yours is running on this machine" in text
    assert "securechat-broker" in advice
    with BrokerProcess(tmp_path):
        assert doctor(env)[0] == 0
        made(env)
        assert not any("alice" in name for name in doctor(env, "--as", "bob")[1])


def test_a_locked_profile_stays_locked_and_no_secret_is_told(env: Env, tmp_path: Path) -> None:
    secret = tmp_path / "passphrase"
    secret.write_text("correct horse\n")
    with BrokerProcess(tmp_path):
        made(env, "alice", "--passphrase-file", str(secret))
        keys = Keystore(Path(env["SECURECHAT_HOME"]), "alice").open("correct horse")
        said = cli(env, "doctor", "--passphrase-file", str(secret))
        assert said.code == 0
        assert "locked with a passphrase" in said.out
        told = said.out + said.err + str(doctor(env)[1])
    for one in ("correct horse", b64url(keys.curve_secret), keys.curve_secret.hex(), b64url(keys.data_key), "PRIVATE"):
        assert one not in told


def test_nothing_is_changed(env: Env, tmp_path: Path) -> None:
    with BrokerProcess(tmp_path):
        made(env)
        before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder(env).iterdir()}
        doctor(env)
        assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder(env).iterdir()} == before


@pytest.mark.parametrize("name", ["keystore", "profile.db"])
def test_what_others_can_read_is_mended_by_what_it_says(env: Env, tmp_path: Path, name: str) -> None:
    with BrokerProcess(tmp_path):
        made(env)
        path = folder(env) / name
        path.chmod(0o644)
        text, advice = only(env, "keystore of alice" if name == "keystore" else "database of alice")
        assert "other users can get at" in text
        assert advice == f"Mend it with: chmod 600 {path}"
        path.chmod(0o600)
        assert doctor(env)[0] == 0


def test_a_home_that_others_can_write_to(env: Env, tmp_path: Path) -> None:
    with BrokerProcess(tmp_path):
        made(env)
        Path(env["SECURECHAT_HOME"]).chmod(0o777)
        assert "other users can write to" in only(env, "home")[0]


def test_what_a_killed_restore_left_behind(env: Env, tmp_path: Path) -> None:
    with BrokerProcess(tmp_path):
        made(env)
        draft = Path(env["SECURECHAT_HOME"]) / f"{DRAFT}a b"
        draft.mkdir()
        assert f"Mend it with: rm -r '{draft}'" in only(env, "home")[1]
        draft.rmdir()
        assert doctor(env)[0] == 0


def test_a_damaged_keystore(env: Env, tmp_path: Path) -> None:
    with BrokerProcess(tmp_path):
        made(env)
        path = folder(env) / "keystore"
        raw = bytearray(path.read_bytes())
        raw[-1] ^= 1
        path.write_bytes(raw)
        text, advice = only(env, "keystore of alice")
        assert "damaged" in text
        assert "backup" in advice


def _overwrite(path: Path) -> None:
    path.write_bytes(os.urandom(8192))


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _of_another_version(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 77")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (_overwrite, "cannot be used"),
        (_truncate, ""),
        (_of_another_version, "is of version 77"),
        (Path.unlink, "is missing"),
    ],
)
def test_a_database_that_is_of_no_use(env: Env, tmp_path: Path, harm: Callable[[Path], None], said: str) -> None:
    with BrokerProcess(tmp_path):
        made(env)
        harm(folder(env) / "profile.db")
        text, advice = only(env, "database of alice")
        assert said in text
        assert str(folder(env) / "profile.db") in text
        assert advice


def test_what_waits_in_the_outbox_and_a_broker_that_is_gone(env: Env, tmp_path: Path) -> None:
    with BrokerProcess(tmp_path) as broker:
        made(env)
        assert broker.end() == 0
    assert cli(env, "send", "bob", "while it is away", "--timeout", "100ms").code != 0
    code, found = doctor(env)
    assert code == 1
    assert found["outbox of alice"]["text"] == "1 message waits to be sent"
    assert "outbox retry" in found["outbox of alice"]["advice"]
    assert found["broker"]["text"] == f"{broker.address.where}, the one that the profile belongs to"
    assert "nothing answers there" in found["connection"]["text"]
    assert "doctor" not in found["connection"]["advice"], "it is being read"


def test_what_a_killed_broker_left_behind(env: Env, tmp_path: Path) -> None:
    with BrokerProcess(tmp_path) as broker:
        broker.process.kill()
        broker.wait()
    text, advice = only(env, "broker")
    assert text == f"{tmp_path / 'run' / 'securechat' / FILE_NAME} was left behind by a broker that runs no more"
    assert "securechat-broker" in advice


def test_a_connection_file_that_others_can_write(env: Env, tmp_path: Path) -> None:
    with BrokerProcess(tmp_path):
        (tmp_path / "run" / "securechat" / FILE_NAME).chmod(0o666)
        assert "other users can read or write it" in only(env, "broker")[0]


def test_a_broker_without_the_key_of_its_address(env: Env, tmp_path: Path) -> None:
    with BrokerProcess(tmp_path) as broker:
        other = BrokerAddress(broker.address.hosts, broker.address.port, new_curve_keys().public)
        assert "does not hold the key of its address" in only(env, "connection", "--broker", other.url)[0]
        assert "invite" in only(env, "broker", "--broker", f"{other.url}/{b64url(bytes(32))}")[0]


def test_a_broker_that_is_not_the_profiles(env: Env, tmp_path: Path) -> None:
    with BrokerProcess(tmp_path) as first, BrokerProcess(tmp_path, data=tmp_path / "other") as second:
        made(env)
        text, _ = only(env, "broker", "--broker", second.address.url)
        assert "is not the one that the profile belongs to" in text
        assert doctor(env, "--broker", first.address.url)[0] == 0


@pytest.mark.skipif(HERE is None, reason="this machine has no address but loopback ones")
def test_a_broker_that_lets_in_by_invite_only_is_well(env: Env, tmp_path: Path) -> None:
    with BrokerProcess(tmp_path, "--host", str(HERE)):
        code, found = doctor(env)
        assert code == 0
        assert "only who is invited" in found["connection"]["text"]


def test_each_profile_is_looked_at_or_the_one_that_is_named(env: Env, tmp_path: Path) -> None:
    with BrokerProcess(tmp_path):
        made(made(env), "bob")
        assert {"keystore of alice", "keystore of bob"} <= set(doctor(env)[1])
        assert "keystore of alice" not in doctor(env, "--profile", "bob")[1]
        assert "There is no profile 'carol'" in only(env, "keystore of carol", "--profile", "carol")[0]


@pytest.mark.parametrize(
    ("asked", "said"),
    [("click>=999", "is older than 999"), ("no-such-package>=1", "no-such-package is missing")],
)
def test_libraries_that_do_not_fit(env: Env, tmp_path: Path, asked: str, said: str) -> None:
    """What is installed is told by metadata; the first on the path counts."""
    info = tmp_path / "installed" / "securechat_rsa-9.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: securechat-rsa\nVersion: 9\nRequires-Dist: {asked}\n")
    path = f"{info.parent}{os.pathsep}{ROOT}"
    with BrokerProcess(tmp_path):
        text, advice = only({**env, "PYTHONSAFEPATH": "1", "PYTHONPATH": path}, "libraries")
    assert said in text
    assert "make install" in advice


def test_an_encoding_without_the_signs(env: Env, tmp_path: Path) -> None:
    with BrokerProcess(tmp_path):
        assert "ascii" in only({**env, "PYTHONIOENCODING": "ascii"}, "terminal")[0]
    found: list[Finding] = [check_terminal(name) for name in ("utf-8", "latin-1", None)]
    assert [one.ok for one in found] == [True, False, False]


def test_help_tells_of_it(env: Env) -> None:
    done: Finished = cli(env, "--help")
    assert "doctor" in done.out
    assert cli(env, "doctor", "surplus").code == 2


def test_a_disk_without_room_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert check_home(tmp_path).ok
    monkeypatch.setattr("clients.doctor._ROOM_LEAST", 1 << 62)
    assert (check_home(tmp_path).ok, check_home(tmp_path).advice) == (False, "Make room on it.")


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_home_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "cannot be written" in check_home(tmp_path).text
