"""Making profiles, using them, and what they hold the broker to; as real processes."""

from __future__ import annotations

import json
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from core.rsa import SigningKey, kid_of
from tests.broker_process import BrokerProcess, admin, cli, got, listening
from tests.clients.profiles.people import Env, greet, home, ok, release, trust_of
from tests.keys import private_key

# init


def test_init_makes_a_closed_profile_and_claims_its_name(broker: BrokerProcess, alice: Env) -> None:
    folder = home(alice, "alice")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    shown = ok(cli(alice, "key", "--json")).data[0]
    assert shown["user"] == "alice"
    ik = serialization.load_pem_public_key(shown["identity_key"].encode())
    der = ik.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert shown["fingerprint"].replace(" ", "") == kid_of(der).hex()
    assert shown["encryption_key"].startswith("-----BEGIN PUBLIC KEY-----")
    (line,) = [line for line in ok(admin(broker.data, broker.env, "users")).out.splitlines() if line.startswith("alice ")]
    assert shown["fingerprint"][:19] in line


def test_init_twice_leaves_the_first_as_it_was(alice: Env) -> None:
    before = (home(alice, "alice") / "keystore").read_bytes()
    done = cli(alice, "init", "Alice")
    assert done.code == 1
    assert "There is a profile 'alice' already" in done.err
    assert (home(alice, "alice") / "keystore").read_bytes() == before


def test_a_name_that_is_taken_leaves_nothing_behind(alice: Env, person: Callable[[str], Env]) -> None:
    mallory = person("mallory")
    done = cli(mallory, "init", "alice")
    assert done.code == 6
    assert "The name 'alice' is in use by somebody else" in done.err
    assert not home(mallory, "alice").exists()
    assert "there is none in" in cli(mallory, "users").err  # no profile


def test_without_a_broker_the_name_is_claimed_later(tmp_path: Path) -> None:
    with BrokerProcess(tmp_path) as broker:
        env = {**broker.env, "SECURECHAT_HOME": str(tmp_path / "mine")}
        port = broker.address.port
        assert broker.end() == 0
    done = ok(cli(env, "init", "alice"))
    assert "claimed when this profile first connects" in done.err
    with BrokerProcess(tmp_path, port=port) as broker:
        assert ok(admin(broker.data, broker.env, "users")).out == ""
        ok(cli(env, "users"))
        assert ok(admin(broker.data, broker.env, "users")).out.startswith("alice ")
        assert broker.end() == 0


def test_a_broker_that_cannot_be_spoken_to_is_not_passed_over_in_silence(
    person: Callable[[str], Env], broker: BrokerProcess
) -> None:
    env = person("dave")
    done = cli(env, "--broker", broker.address.url.rpartition("/")[0] + "/" + "A" * 43, "init", "dave")
    assert done.code == 4
    assert "does not hold the key of its address" in done.err
    assert not home(env, "dave").exists()
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{nobody.getsockname()[1]}"
        done = ok(cli(env, "--broker", f"securechat://{where}/" + "A" * 43, "init", "dave"))
    assert f"The broker at {where} does not answer: the name is claimed when this profile first connects" in done.err
    assert home(env, "dave").exists()


def test_a_home_that_cannot_be_written_is_said_in_a_sentence(tmp_path: Path, broker: BrokerProcess) -> None:
    (tmp_path / "file").touch()
    done = cli({**broker.env, "SECURECHAT_HOME": str(tmp_path / "file")}, "init", "erin")
    assert done.code == 1
    assert "cannot be written" in done.err


def test_an_identity_key_can_be_brought_along(broker: BrokerProcess, person: Callable[[str], Env], tmp_path: Path) -> None:
    env, key = person("carol"), private_key("carol", "ik")
    pem = tmp_path / "key.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    done = ok(cli(env, "--json", "init", "carol", "--import", str(pem)))
    assert done.data[0]["fingerprint"].replace(" ", "") == SigningKey(key).public.kid.hex()
    release(broker, "carol")
    pem.write_text("no key")
    refused = cli(env, "init", "dave", "--import", str(pem))
    assert refused.code == 1
    assert "This key is not accepted" in refused.err
    assert not home(env, "dave").exists()
    assert cli(env, "init", "dave", "--import", str(tmp_path / "missing")).code == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("init",), "Missing argument"),
        (("init", "no name"), "is not a username"),
        (("init", "alice", "--invite", "securechat://x:1/y/z"), "others can read flags"),
        (("init", "alice", "--invite", "-"), "not a broker's address"),
        (("init", "alice", "--invite-file", "no-such-file"), "cannot be read"),
        (("--as", "bob", "--profile", "alice", "users"), "give one of them"),
        (("--as", "bob", "verify", "alice"), "bob is a guest"),
        (("--as", "bob", "verify", "alice"), "/verify alice in 'securechat-cli chat'"),
        (("--as", "bob", "history"), "securechat-cli init bob"),
        (("history",), "there is none in"),
        (("--home", "elsewhere", "send", "bob", "for a profile"), "there is none in elsewhere"),
        (("--passphrase-file", "a file", "send", "bob", "for a profile"), "there is none in"),
        (("--profile", "nobody", "users"), "There is no profile 'nobody'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_wrong_usage(person: Callable[[str], Env], arguments: tuple[str, ...], said: str) -> None:
    env = person("nobody")
    done = cli(env, *arguments)
    assert done.code in (1, 2)
    assert said in done.err
    assert not Path(env["SECURECHAT_HOME"]).exists()


def test_with_several_profiles_one_is_to_be_named(broker: BrokerProcess, alice: Env) -> None:
    ok(cli(alice, "init", "second"))
    done = cli(alice, "users")
    assert done.code == 2
    assert "several profiles (alice, second)" in done.err
    ok(cli(alice, "--profile", "second", "users"))
    ok(cli({**alice, "SECURECHAT_PROFILE": "alice"}, "users"))
    ok(cli(alice, "--as", "guest", "users"))
    release(broker, "second")


# Messages


def test_profiles_write_to_each_other_and_remember(alice: Env, bob: Env) -> None:
    with listening(bob, None, "--json") as present:
        done = ok(cli(alice, "--json", "send", "bob", "hello"))
        assert done.data[0]["recipients"] == {"bob": "delivered"}
        assert done.data[0]["from"] == "alice"
        message = got(present, "hello")
        assert (message["from"], message["trust"]) == ("alice", "new")
        ok(cli(alice, "send", "bob", "again"))  # another process, which counts on
        message = got(present, "again")
        assert message["trust"] == "pinned"
        assert "missing" not in present.err.text
        assert trust_of(alice, "bob") == "pinned"


# The broker's key


def test_another_broker_in_the_place_of_the_profiles_is_not_spoken_to(tmp_path: Path) -> None:
    with BrokerProcess(tmp_path) as first:
        env = {**first.env, "SECURECHAT_HOME": str(tmp_path / "mine")}
        ok(cli(env, "init", "alice"))
        assert first.end() == 0
    (first.data / "broker.key").unlink()
    with BrokerProcess(tmp_path, port=first.address.port) as second:
        done = cli(env, "--broker", second.address.url, "users")
        assert done.code == 4
        assert "is not the one that profile alice belongs to" in done.err
        assert cli(env, "users").code == 4  # at the address it remembers there is another key
        ok(cli(env, "--as", "guest", "users"))
        assert second.end() == 0
        assert "alice" not in second.err.text


def test_the_same_broker_at_another_place_is_remembered(tmp_path: Path) -> None:
    with BrokerProcess(tmp_path) as first:
        env = {**first.env, "SECURECHAT_HOME": str(tmp_path / "mine")}
        ok(cli(env, "init", "alice"))
        assert first.end() == 0
    with BrokerProcess(tmp_path) as second:
        ok(cli(env, "users"))  # found where it is now
        lonely = {**env, "XDG_RUNTIME_DIR": str(tmp_path / "nothing")}
        ok(cli(lonely, "users"))
        assert second.end() == 0


@pytest.mark.parametrize(("harm", "said"), [("loose", "chmod 600"), ("torn", "damaged"), ("gone", "no profile")])
def test_a_keystore_that_came_to_harm(alice: Env, harm: str, said: str) -> None:
    path = home(alice, "alice") / "keystore"
    whole = path.read_bytes()
    if harm == "loose":
        path.chmod(0o644)
    elif harm == "torn":
        path.write_bytes(whole[:-1])
    else:
        path.unlink()
    done = cli(alice, "--profile", "alice", "users")
    assert done.code == 1
    assert said in done.err
    if harm == "torn":
        assert path.read_bytes() == whole[:-1]


def test_json_is_one_object_a_line_whatever_the_command(alice: Env, bob: Env) -> None:
    greet(alice, bob, "bob")
    for arguments, kind in ((("key",), "key"), (("verify", "bob"), "number"), (("verify", "nobody"), "error")):
        done = cli(alice, "--json", *arguments)
        assert [json.loads(line)["type"] for line in done.out.splitlines()] == [kind]
