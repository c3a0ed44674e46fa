"""core.names, core.address and core.places: what people type and what a broker writes down."""

from __future__ import annotations

import os
import re
import string
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.address import BrokerAddress
from core.encoding import b64url
from core.errors import BadAddress, BadName
from core.names import check_name, fingerprint, is_name, normalise_name, short_fingerprint
from core.places import ConnectionFile, decode_connection_file, default_data_dir, encode_connection_file, runtime_copy

KEY, INVITE = bytes(range(32)), bytes(range(100, 132))
GOOD = f"securechat://127.0.0.1:12345/{b64url(KEY)}"


@pytest.mark.parametrize("name", ["a", "0", "bob", "bob.smith", "a_b-c.d", "x" * 32, "every", "everyone2", "a-", "a."])
def test_usernames(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "everyone",
        "Bob",
        "x" * 33,
        ".bob",
        "-bob",
        "_bob",
        "a..b",
        "b ob",
        "bob\n",
        "bøb",
        "b/b",
        "b,b",
        "bob\0",
        "\u0430lice",
    ],
)
def test_what_is_no_username(name: str) -> None:
    assert not is_name(name)
    with pytest.raises(BadName) as refused:
        check_name(name)
    assert str(refused.value) == f"'{name}' is not a username."
    assert "everyone" in refused.value.advice


@given(st.text(max_size=40))
def test_is_name_agrees_with_the_documented_pattern(text: str) -> None:
    documented = re.fullmatch(r"[a-z0-9][a-z0-9_.\-]{0,31}", text, re.ASCII) and ".." not in text and text != "everyone"
    assert is_name(text) is bool(documented)


def test_typed_names_are_lowered_and_trimmed() -> None:
    assert normalise_name("  Bob\t") == "bob"
    assert not is_name(normalise_name("İ"))


def test_fingerprints_show_all_of_a_kid() -> None:
    text = fingerprint(KEY)
    assert re.fullmatch(r"([0-9a-f]{4} ){15}[0-9a-f]{4}", text)
    assert bytes.fromhex(text.replace(" ", "")) == KEY
    assert text.startswith(short_fingerprint(KEY))
    assert len(short_fingerprint(KEY).split()) == 4


@pytest.mark.parametrize(
    ("where", "hosts", "port"),
    [
        ("127.0.0.1:12345", ("127.0.0.1",), 12345),
        ("[::1]:1", ("[::1]",), 1),
        ("[fe80::1%eth0]:65535", ("[fe80::1%eth0]",), 65535),
        ("chat.example.org,10.0.0.7,[fd00::7]:443", ("chat.example.org", "10.0.0.7", "[fd00::7]"), 443),
    ],
)
def test_addresses_round_trip(where: str, hosts: tuple[str, ...], port: int) -> None:
    text = f"securechat://{where}/{b64url(KEY)}"
    address = BrokerAddress.parse(f" {text}\n")
    assert address == BrokerAddress(hosts, port, KEY)
    assert (address.url, address.where) == (text, where)
    assert address.endpoints == tuple(f"tcp://{host}:{port}" for host in hosts)
    invited = BrokerAddress.parse(f"{text}/{b64url(INVITE)}")
    assert invited.invite == INVITE
    assert invited.url == text


@pytest.mark.parametrize(("host", "shown"), [("10.0.0.7", "10.0.0.7"), ("a.example.org", "a.example.org"), ("::1", "[::1]")])
def test_the_same_broker_at_another_host(host: str, shown: str) -> None:
    address = BrokerAddress.parse(f"{GOOD}/{b64url(INVITE)}").at(host)
    assert address == BrokerAddress((shown,), 12345, KEY)  # and an invite goes no further than where it was given
    assert BrokerAddress.parse(address.url) == address


def test_an_invite_is_never_shown() -> None:
    secret = b64url(INVITE)
    address = BrokerAddress.parse(f"{GOOD}/{secret}")
    assert secret not in repr(address) + address.url + address.where
    assert repr(INVITE) not in repr(address)
    for broken in (f"{GOOD}/{secret}/", f"{GOOD}/{secret}x", f"securechat://a b:1/{secret}/{secret}", f"http://x/{secret}"):
        with pytest.raises(BadAddress) as refused:
            BrokerAddress.parse(broken)
        assert secret not in str(refused.value) + repr(refused.value) + refused.value.advice


@pytest.mark.parametrize(
    "text",
    [
        "",
        "127.0.0.1:12345",
        "securechat://",
        GOOD.replace("securechat", "SECURECHAT"),
        GOOD.replace(":12345", ""),
        GOOD.replace(":12345", ":0"),
        GOOD.replace(":12345", ":65536"),
        GOOD.replace(":12345", ":123456"),
        GOOD.replace(":12345", ":-1"),
        GOOD.replace(":12345", ":\u0661"),
        GOOD.replace("127.0.0.1", ""),
        GOOD.replace("127.0.0.1", "a,,b"),
        GOOD.replace("127.0.0.1", "::1"),
        GOOD.replace("127.0.0.1", "[::1"),
        GOOD.replace("127.0.0.1", "user@host"),
        GOOD.replace("127.0.0.1", "-x"),
        GOOD.replace("127.0.0.1", "a b"),
        GOOD + "/",
        GOOD + "?x",
        GOOD[:-1],
        GOOD + "A",
        GOOD.rpartition("/")[0],
        GOOD + "\nsecond line",
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(BadAddress) as refused:
        BrokerAddress.parse(text)
    assert "securechat://" in refused.value.advice


@given(st.text(string.printable, max_size=60))
def test_typed_noise_is_refused_or_round_trips(noise: str) -> None:
    for text in (noise, f"securechat://{noise}", f"securechat://{noise}/{b64url(KEY)}"):
        try:
            address = BrokerAddress.parse(text)
        except BadAddress:
            continue
        assert BrokerAddress.parse(address.url).url == address.url


@pytest.mark.parametrize(
    ("host", "shown"),
    [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]"), ("192.0.2.7", "192.0.2.7"), ("0.0.0.0", "127.0.0.1"), ("::", "127.0.0.1")],
)
def test_connection_files_round_trip(host: str, shown: str) -> None:
    content = ConnectionFile.describe(host, 12345, KEY, 77)
    raw = encode_connection_file(content)
    assert decode_connection_file(raw) == content
    assert raw.endswith(b"}\n")
    assert content.address == BrokerAddress((shown,), 12345, KEY)
    assert content.is_local is (host in ("127.0.0.1", "::1"))


@pytest.mark.parametrize("pid", [1, 2**31 - 1])
def test_any_process_may_have_written_a_connection_file(pid: int) -> None:
    content = ConnectionFile.describe("127.0.0.1", 12345, KEY, pid)
    assert decode_connection_file(encode_connection_file(content)) == content


@pytest.mark.parametrize("change", [{"v": 2}, {"pid": 0}, {"pid": -1}, {"pid": 2**31}, {"pid": "x"}, {"url": None}])
def test_other_connection_files_are_refused(change: dict[str, object]) -> None:
    good = msgspec.to_builtins(ConnectionFile.describe("127.0.0.1", 12345, KEY, 77))
    with pytest.raises(BadAddress):
        decode_connection_file(msgspec.json.encode({**good, **change}))


@given(st.binary(max_size=60))
def test_noise_is_no_connection_file(noise: bytes) -> None:
    with pytest.raises(BadAddress):
        decode_connection_file(noise)


def test_where_the_files_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    assert default_data_dir() == tmp_path / "state" / "securechat" / "broker"
    assert runtime_copy() == tmp_path / "run" / "securechat" / "broker.json"


def test_a_runtime_folder_that_is_somebody_elses_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nor is the substitute, whose name anybody can take first."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "run").mkdir(mode=0o755)
    (tmp_path / f"runtime-{os.getuid()}").symlink_to(tmp_path / "run")
    assert runtime_copy() in (
        Path(f"/run/user/{os.getuid()}/securechat/broker.json"),  # of a user who is logged in
        tmp_path / "state" / "securechat" / "broker" / "runtime" / "securechat" / "broker.json",
    )
