"""``config.toml``: what it may say, what goes before it, and that what is not understood is said; also as processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clients.config_file import config_path, read_config, with_config
from core.errors import ConfigBroken
from tests.broker_process import BrokerProcess, Running, cli, environment, got
from tests.clients.profiles.people import ok, release

KEY = "A" * 43
BROKER = f"securechat://127.0.0.1:1/{KEY}"


def write(env: dict[str, str], text: str) -> Path:
    """Put a config file where ``env`` has it looked for."""
    path = Path(env["XDG_CONFIG_HOME"]) / "securechat" / "config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_it_says_what_flags_and_the_environment_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", "/home-of-somebody")
    assert with_config({"OTHER": "1", "SECURECHAT_HOME": ""}) == {"OTHER": "1"}
    config_path().parent.mkdir()
    config_path().write_text(f"# mine\nbroker = '{BROKER}'\nprofile = 'Alice'\nhome = '~/chat'\n")
    found = {"SECURECHAT_BROKER": BROKER, "SECURECHAT_PROFILE": "alice", "SECURECHAT_HOME": "/home-of-somebody/chat"}
    assert with_config({}) == with_config({"SECURECHAT_PROFILE": ""}) == found
    assert with_config({"SECURECHAT_HOME": "/else"}) == {**found, "SECURECHAT_HOME": "/else"}
    others = {"SECURECHAT_AS": "bob", "SECURECHAT_BROKER": BROKER, "SECURECHAT_HOME": "/home-of-somebody/chat"}
    assert with_config({"SECURECHAT_AS": "bob"}) == others
    config_path().write_text("passphrase_file = '~/secret'\n")
    assert with_config({}) == {"SECURECHAT_PASSPHRASE_FILE": "/home-of-somebody/secret"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("broker = ", "it is not TOML: "),
        (f"as = {'[' * 5000}", "it is nested too deeply"),
        ("nonsense = 'x'", "it has the unknown key 'nonsense'"),
        ("passphrase = 'x'", "it has the unknown key 'passphrase'"),
        ("[profile]\nname = 'x'", "the value of 'profile' is not a text"),
        ("profile = 1", "the value of 'profile' is not a text"),
        ("profile = ''", "the value of 'profile' is empty"),
        ("profile = 'Not A Name'", "'profile': 'not a name' is not a username"),
        ("as = 'everyone'", "'as': 'everyone' is not a username"),
        ("broker = 'http://example.org'", "'broker': This is not a broker's address"),
        (f"broker = '{BROKER}/{KEY}'", "'broker': it holds an invite, which is a secret"),
        ("home = 'chat'", "'home': it must begin with / or ~"),
        ("home = '~nobody-of-that-name/x'", "'home': nobody knows where ~ is"),
        ("as = 'bob'\nprofile = 'alice'", "it has both 'profile' and 'as'"),
        ("as = '\udcff'", "it is not text in UTF-8"),
    ],
)
def test_what_is_not_understood_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigBroken) as caught:
        read_config(path)
    assert str(caught.value).startswith(f"{path} cannot be used: {said}")
    assert KEY not in str(caught.value)
    assert len(caught.value.advice) > 5


def test_a_mark_that_some_editors_write_first_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"\xef\xbb\xbfas = 'bob'\n")
    assert read_config(tmp_path / "config.toml") == {"SECURECHAT_AS": "bob"}


def test_a_folder_or_a_pipe_in_its_place_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigBroken, match="not a regular file"):
        read_config(tmp_path / "pipe")
    with pytest.raises(ConfigBroken, match="not a regular file"):
        read_config(tmp_path)


def test_flags_before_the_environment_before_the_file(tmp_path: Path, broker: BrokerProcess, bob: Running) -> None:
    env = environment(tmp_path, XDG_CONFIG_HOME=str(tmp_path / "config"))
    write(env, f"broker = '{broker.address.url}'\nas = 'from-the-file'\n")
    for who, more, flags in (
        ("from-the-file", {}, ()),
        ("from-the-environment", {"SECURECHAT_AS": "from-the-environment"}, ()),
        ("from-a-flag", {"SECURECHAT_AS": "from-the-environment"}, ("--as", "from-a-flag")),
    ):
        ok(cli({**env, **more}, *flags, "send", "bob", f"I am {who}"))
        assert got(bob, f"I am {who}")["from"] == who
    write(env, f"broker = '{BROKER}'\n")
    assert cli(env, "status").code == 3
    ok(cli({**env, "SECURECHAT_BROKER": broker.address.url}, "status"))
    ok(cli(env, "--broker", broker.address.url, "status"))


def test_the_file_says_where_profiles_are_and_which_to_be(tmp_path: Path, broker: BrokerProcess) -> None:
    env = {**broker.env, "XDG_CONFIG_HOME": str(tmp_path / "config")}
    write(env, f"home = '{tmp_path}/chat'\nprofile = 'carol'\n")
    for name in ("carol", "dave"):
        ok(cli(env, "init", name))
        assert (tmp_path / "chat" / "profiles" / name).is_dir()
    assert ok(cli(env, "key", "--json")).data[0]["user"] == "carol"
    assert ok(cli({**env, "SECURECHAT_PROFILE": "dave"}, "key", "--json")).data[0]["user"] == "dave"
    assert ok(cli(env, "--profile", "dave", "key", "--json")).data[0]["user"] == "dave"
    assert cli(env, "--as", "guest", "key").code == 1
    both = cli({**env, "SECURECHAT_PROFILE": "dave", "SECURECHAT_AS": "erin"}, "key")
    assert (both.code, "set one of them" in both.err) == (2, True)
    release(broker, "carol", "dave")


def test_2_a_file_that_is_not_understood(tmp_path: Path, broker: BrokerProcess) -> None:
    env = {**broker.env, "XDG_CONFIG_HOME": str(tmp_path / "config")}
    path = write(env, "colour = true\n")
    for command in (("send", "bob", "hi"), ("listen",), ("history",), ("users",), ("init", "carol")):
        done = cli(env, *command)
        assert done.code == 2
        assert f"{path} cannot be used: it has the unknown key 'colour'" in done.err
        assert "hint: There are: broker, profile, as, home, passphrase_file." in done.err
    assert cli(env, "--help").code == 0


def test_what_the_file_says_does_not_reach_the_terminal_as_it_is(tmp_path: Path) -> None:
    env = environment(tmp_path, XDG_CONFIG_HOME=str(tmp_path / "config"))
    write(env, r'"\u001b[2Jcolour" = true')
    for done in (cli(env, "users"), cli(env, "doctor")):
        assert "\x1b" not in done.out + done.err
        assert "unknown key '␛[2Jcolour'" in done.out + done.err


def test_doctor_says_who_named_the_broker(tmp_path: Path, broker: BrokerProcess) -> None:
    env = environment(tmp_path, XDG_CONFIG_HOME=str(tmp_path / "config"))
    path = write(env, f"broker = '{broker.address.url}'\n")
    assert f"named by {path}" in cli(env, "doctor").out
    assert "named by SECURECHAT_BROKER" in cli({**env, "SECURECHAT_BROKER": broker.address.url}, "doctor").out
