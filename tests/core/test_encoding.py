"""core.encoding: one accepted form for each value."""

from __future__ import annotations

import base64
import json
import string

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from core.encoding import b64url, from_b64url, pack, strict_json, unpack


class Thing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    number: int
    pairs: tuple[tuple[str, int], ...] = ()


DECODER = msgspec.json.Decoder(Thing)
GOOD = b'{"name":"a","number":1,"pairs":[["b",2]]}'
ALPHABET = string.ascii_letters + string.digits + "-_"


@given(st.binary(max_size=200))
def test_base64url_round_trip_is_the_standard_one(data: bytes) -> None:
    text = b64url(data)
    assert from_b64url(text) == from_b64url(text, len(data)) == data
    assert text == base64.urlsafe_b64encode(data).decode().rstrip("=")
    with pytest.raises(ValueError, match="size"):
        from_b64url(text, len(data) + 1)


@given(st.text(ALPHABET, max_size=50))
def test_every_accepted_text_is_the_only_one_for_its_bytes(text: str) -> None:
    try:
        data = from_b64url(text)
    except ValueError:
        return
    assert b64url(data) == text


@given(st.text(max_size=30))
def test_other_texts_are_refused(text: str) -> None:
    assume(not set(text) <= set(ALPHABET))
    with pytest.raises(ValueError, match="base64url"):
        from_b64url(text)


@pytest.mark.parametrize("text", ["AA==", "AA=", "AB", "A", "AAAAA", "AAA\n", "AA A", "A+A/", "\uff21A", "AAF", "=", "AA\0"])
def test_uncanonical_base64url_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="base64url"):
        from_b64url(text)


def test_strict_json_takes_the_canonical_form() -> None:
    assert strict_json(GOOD, DECODER) == Thing("a", 1, (("b", 2),))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        GOOD + b"\n",
        GOOD + b"{}",
        b"\xef\xbb\xbf" + GOOD,
        GOOD.replace(b":1", b": 1"),
        GOOD.replace(b":1", b":1.0"),
        GOOD.replace(b":1", b":1e0"),
        GOOD.replace(b":1", b":01"),
        GOOD.replace(b":1", b":-0"),
        GOOD.replace(b":1", b":+1"),
        GOOD.replace(b":1", b':"1"'),
        GOOD.replace(b":1", b":true"),
        GOOD.replace(b":1", b":NaN"),
        GOOD.replace(b":1", b":Infinity"),
        GOOD.replace(b":1", b":null"),
        GOOD.replace(b":1", b":" + b"9" * 5000),
        GOOD.replace(b'"a"', b'"\\u0061"'),
        GOOD.replace(b'"a"', b'"\\/"'),
        GOOD.replace(b'"a"', '"\u00e4"'.encode()),
        GOOD.replace(b'"a"', b'"\xff"'),
        GOOD.replace(b'"a"', b'"\\ud800"'),
        GOOD.replace(b'"a"', b"'a'"),
        b'{"name":"a","name":"a","number":1,"pairs":[["b",2]]}',
        b'{"number":1,"name":"a","pairs":[["b",2]]}',
        b'{"name":"a","number":1}',  # a default that is left out is another form of the same value
        b'{"name":"a","number":1,"pairs":[["b",2]],"x":0}',
        b'{"name":"a","number":1,"pairs":[["b",2,3]]}',
        b'{"name":"a","number":1,"pairs":' + b"[" * 100_000,
        b'{"name":"a","number":1,"pairs":[["b",2]],}',
        b'{"name":"a","number":1,/**/"pairs":[["b",2]]}',
    ],
)
def test_strict_json_refuses_everything_else(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"JSON|canonical"):
        strict_json(raw, DECODER)


@given(st.text(string.ascii_lowercase, max_size=5), st.integers(), st.sampled_from([None, 0, 1, 2]))
def test_strict_json_agrees_with_the_standard_library(name: str, number: int, indent: int | None) -> None:
    value = {"name": name, "number": number, "pairs": [["b", 2]]}
    assert strict_json(json.dumps(value, separators=(",", ":")).encode(), DECODER).number == number
    with pytest.raises(ValueError, match="canonical"):
        strict_json(json.dumps(value, indent=indent).encode(), DECODER)


@given(st.data())
def test_a_mutated_json_is_refused_or_canonical(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(GOOD)))
    cut = data.draw(st.integers(0, 3))
    raw = GOOD[:at] + data.draw(st.binary(max_size=3)) + GOOD[at + cut :]
    try:
        value = strict_json(raw, DECODER)
    except ValueError:
        return
    assert msgspec.json.encode(value) == raw


@given(st.lists(st.binary(max_size=50), max_size=8))
def test_pack_round_trip(parts: list[bytes]) -> None:
    data = pack(parts)
    assert unpack(data, len(parts)) == parts
    for count in {0, 1, 7, len(parts) + 1} - {len(parts)}:
        with pytest.raises(ValueError, match=r"short|over|past"):
            unpack(data, count)


@given(st.binary(max_size=100), st.integers(0, 8))
def test_unpack_takes_only_what_pack_makes(data: bytes, count: int) -> None:
    try:
        parts = unpack(data, count)
    except ValueError:
        return
    assert pack(parts) == data


@pytest.mark.parametrize("length", [b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00", b"\x00\x00\x00\x02"])
def test_a_length_that_lies_is_refused(length: bytes) -> None:
    with pytest.raises(ValueError, match="past the end"):
        unpack(length + b"x", 1)
