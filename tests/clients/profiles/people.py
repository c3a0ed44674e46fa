"""People with profiles, for tests: their homes, and what they do on the command line."""

from __future__ import annotations

from pathlib import Path

from broker import admin
from clients.making import make_profile
from core.errors import LoginRefused
from tests.broker_process import BrokerProcess, Finished, cli, got, listening
from tests.net import until

Env = dict[str, str]


def home(env: Env, name: str) -> Path:
    """The folder of the profile ``name``."""
    return Path(env["SECURECHAT_HOME"]) / "profiles" / name


def ok(done: Finished) -> Finished:
    assert done.code == 0, done.err
    return done


def settle(broker: BrokerProcess, env: Env, name: str) -> Env:
    """Make a profile of ``name``, as ``init`` does. The broker hears in its own time that the name is free."""

    def made() -> bool:
        try:
            profile, claimed = make_profile(Path(env["SECURECHAT_HOME"]), name, None, broker.address)
        except LoginRefused:
            return False
        profile.close()
        return claimed

    until(made)
    return env


def release(broker: BrokerProcess, *names: str) -> None:
    """Set names free, as ``securechat-broker release`` does."""
    for name in names:
        admin.release(broker.data, name)


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
