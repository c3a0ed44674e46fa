"""Who may connect: the broker's answers to ZeroMQ's authentication requests."""

from __future__ import annotations

import os

import pytest

from broker.access import Access

KEY = os.urandom(32)
LOCAL = ("127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1", "::1%lo")
ELSEWHERE = (
    "192.0.2.7",
    "10.0.0.1",
    "0.0.0.0",
    "::",
    "2001:db8::1",
    "::ffff:192.0.2.7",
    "fe80::1%eth0",
    "",
    "localhost",
    "127.0.0.1.example.org",
    "127.1",
    "\N{REPLACEMENT CHARACTER}",
)


def nobody(key: bytes) -> bool:
    return False


def everybody(key: bytes) -> bool:
    return True


def request(
    address: str = "127.0.0.1", *, mechanism: bytes = b"CURVE", key: bytes = KEY, version: bytes = b"1.0"
) -> list[bytes]:
    return [version, b"1", b"securechat", address.encode(), b"", mechanism, key]


@pytest.mark.parametrize("address", LOCAL)
def test_this_machine_is_let_in(address: str) -> None:
    assert Access(False, nobody).answer(request(address)) == [b"1.0", b"1", b"200", b"OK", KEY.hex().encode(), b""]


@pytest.mark.parametrize("address", ELSEWHERE)
def test_others_are_let_in_only_by_an_open_broker(address: str) -> None:
    assert Access(False, nobody).answer(request(address))[2] == b"400"
    assert Access(True, nobody).answer(request(address))[2] == b"200"


@pytest.mark.parametrize("address", ELSEWHERE)
def test_a_key_that_is_known_is_let_in_from_anywhere(address: str) -> None:
    access = Access(False, KEY.__eq__)
    assert access.answer(request(address))[2] == b"200"
    assert access.answer(request(address, key=KEY[::-1]))[2] == b"400"


@pytest.mark.parametrize("mechanism", [b"NULL", b"PLAIN", b"GSSAPI", b"curve", b""])
@pytest.mark.parametrize("open_to_all", [False, True])
def test_no_other_mechanism_is_let_in(mechanism: bytes, open_to_all: bool) -> None:
    assert Access(open_to_all, everybody).answer(request(mechanism=mechanism))[2] == b"400"


@pytest.mark.parametrize("key", [b"", KEY[:31], KEY + b"x"], ids=lambda key: str(len(key)))
def test_a_key_of_another_size_is_not_let_in(key: bytes) -> None:
    assert Access(True, everybody).answer(request(key=key))[2] == b"400"


def test_an_address_that_is_no_text_is_not_let_in() -> None:
    frames = request()
    frames[3] = b"\xff\xfe127.0.0.1"
    assert Access(False, nobody).answer(frames)[2] == b"400"


@pytest.mark.parametrize(
    "frames",
    [[], [b""], [b"1.0"], [b"1.0", b"7"], request()[:-1], [*request(), b"more"], request(version=b"2.0")],
)
def test_a_malformed_request_gets_an_answer_of_the_right_form(frames: list[bytes]) -> None:
    answer = Access(True, nobody).answer(frames)
    assert len(answer) == 6
    assert answer[:3] == [b"1.0", frames[1] if len(frames) > 1 else b"", b"500"]
