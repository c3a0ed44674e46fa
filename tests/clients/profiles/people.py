"""People with profiles, for tests: their homes, and what they do on the command line."""

from __future__ import annotations

from pathlib import Path

from tests.broker_process import BrokerProcess, Finished, admin, cli, got, listening

Env = dict[str, str]


def home(env: Env, name: str) -> Path:
    """The folder of the profile ``name``."""
    return Path(env["SECURECHAT_HOME"]) / "profiles" / name


def ok(done: Finished) -> Finished:
    assert done.code == 0, done.err
    return done


def release(broker: BrokerProcess, *names: str) -> None:
    """Set names free."""
    for name in names:
        ok(admin(broker.data, broker.env, "release", name))


def number(env: Env, peer: str) -> str:
    """The safety number with ``peer``."""
    return str(ok(cli(env, "--json", "verify", peer)).data[0]["number"])


def trust_of(env: Env, peer: str) -> str:
    """How ``peer``, who is here, stands."""
    (found,) = [one for one in ok(cli(env, "users", "--json")).data if one["user"] == peer]
    return str(found["trust"])


def greet(sender: Env, reader: Env, name: str) -> None:
    """Let each hear of the other's key; ``name`` is the reader's."""
    with listening(reader, None, "--json") as present:
        ok(cli(sender, "send", name, "good morning"))
        got(present, "good morning")
