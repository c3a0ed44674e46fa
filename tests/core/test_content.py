"""core.content and core.chunking: what is inside, its padding, and its blocks."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import chunking
from core.content import File, Text, Unknown, decode_content, encode_content, pad, unpad
from core.errors import BadFileName, NotText
from core.limits import CHUNKED_CONTENT_MAX, CHUNKS_MAX, HYBRID_CONTENT_MAX, OAEP_MAX, VOID_MAX
from core.names import check_file_name

SIZES = [256, 512, 1024, 2048, 4096]


@given(st.text(st.characters(codec="utf-8"), max_size=100))
def test_text_round_trip(text: str) -> None:
    assert decode_content(encode_content(Text(text))) == Text(text)


def test_what_is_no_text_is_refused_by_name() -> None:
    for text in ("\udcff", "a\ud800b"):
        with pytest.raises(NotText):
            encode_content(Text(text))


def test_unknown_types_are_named_and_not_dropped() -> None:
    assert decode_content(msgspec.msgpack.encode({"type": "poll", "question": "a"})) == Unknown("poll")
    assert decode_content(msgspec.msgpack.encode({"type": "x" * 1000})) == Unknown("x" * 64)


FILE = File("report.pdf", 12, bytes(32), bytes(range(32)), bytes(16))


def test_a_file_comes_as_it_was_sent() -> None:
    assert decode_content(encode_content(FILE)) == FILE


def test_a_files_key_is_never_shown() -> None:
    assert repr(FILE) == "File(name='report.pdf', size=12)"


NO_NAMES = [
    "",
    ".",
    "..",
    "a/b",
    "a\\b",
    "/etc/passwd",
    "a\nb",
    "a\x1b[2J",
    "a\u2028b",
    "a\u2029b",
    "x\u202efdp.exe",
    " a",
]


@pytest.mark.parametrize("name", [*NO_NAMES, "a ", "é" * 128], ids=lambda name: name.encode().hex()[:32])
def test_a_name_that_is_none_or_more_is_refused(name: str) -> None:
    with pytest.raises(BadFileName) as refused:
        check_file_name(name)
    assert str(refused.value).startswith(f"'{name}' cannot be")
    with pytest.raises(ValueError, match="not content"):
        decode_content(encode_content(msgspec.structs.replace(FILE, name=name)))


def test_a_name_that_is_no_text_is_shown_as_what_it_is() -> None:
    with pytest.raises(BadFileName, match=r"x\\udcff"):
        check_file_name("x\udcff")


@pytest.mark.parametrize(
    "name",
    ["a", "X", "report (2).pdf", ".bashrc", "naïve \N{SNOWMAN}.txt", "a" * 255, "-rf", "COM1"],
    ids=lambda name: name.encode().hex()[:32],
)
def test_other_names_are_names(name: str) -> None:
    assert check_file_name(name) == name


@pytest.mark.parametrize(
    "change",
    [{"size": -1}, {"hash": bytes(31)}, {"key": bytes(33)}, {"blob": bytes(15)}, {"size": 2**40 + 1}, {"size": "1"}],
    ids=lambda change: next(iter(change)),
)
def test_a_file_whose_parts_have_other_sizes_is_no_content(change: dict[str, object]) -> None:
    raw = msgspec.msgpack.decode(encode_content(FILE))
    with pytest.raises(ValueError, match="not content"):
        decode_content(msgspec.msgpack.encode({**raw, **change}))


def test_text_may_have_more_fields_in_time() -> None:
    assert decode_content(msgspec.msgpack.encode({"type": "text", "text": "hi", "mood": [3]})) == Text("hi")


def test_the_numbers_that_a_text_gives_up_are_few() -> None:
    # A jump of many numbers with every second one given up would cost its reader seconds.
    many = tuple(("bob", n) for n in range(2, 2 * VOID_MAX + 2, 2))
    assert decode_content(encode_content(Text("hi", many))) == Text("hi", many)
    with pytest.raises(ValueError, match="not content"):
        decode_content(encode_content(Text("hi", (*many, ("bob", 1000)))))


@given(st.binary(max_size=100))
def test_noise_is_content_or_a_value_error(noise: bytes) -> None:
    try:
        content = decode_content(noise)
    except ValueError:
        return
    assert isinstance(content, Text | Unknown)


@given(st.data())
def test_mutated_content_is_content_or_a_value_error(data: st.DataObject) -> None:
    good = encode_content(Text("hello world"))
    at = data.draw(st.integers(0, len(good) - 1))
    mutated = good[:at] + data.draw(st.binary(max_size=3)) + good[at + 1 :]
    try:
        content = decode_content(mutated)
    except ValueError:
        return
    assert isinstance(content, Text | Unknown)


@pytest.mark.parametrize(
    "raw", [b"\x81" * 20_000, b"\x91" * 20_000, b"\xdf\xff\xff\xff\xff", b"\x82\xa4type\xa4text\xa4text\xdb\xff\xff\xff\xff"]
)
def test_deep_and_lying_content_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="not content"):
        decode_content(raw)


@given(st.one_of(st.integers(0, 600), st.integers(4000, 4200), st.sampled_from([1023, 1024, 2047, 2048, 8191, 8192, 65535])))
def test_padding_hides_the_length_in_few_sizes(length: int) -> None:
    for filling in (b"\0", b"\x80", b"x"):
        data = filling * length
        padded = pad(data)
        assert len(padded) > length
        assert len(padded) in SIZES or len(padded) % 4096 == 0
        smaller = [size for size in (*SIZES, len(padded) - 4096) if length < size < len(padded)]
        assert not smaller  # it is the least that fits
        assert unpad(padded) == data


@given(st.binary(max_size=300))
def test_unpad_takes_only_what_pad_makes(data: bytes) -> None:
    for padded in (data, data.ljust(256, b"\0"), data.ljust(512, b"\0"), data[:255] + b"\x80" + bytes(256)):
        try:
            content = unpad(padded)
        except ValueError:
            continue
        assert pad(content) == padded


@pytest.mark.parametrize("padded", [b"", bytes(256), b"\x80", b"\x80" + bytes(254), b"\x80" + bytes(511), b"x" * 256])
def test_wrong_padding_is_refused(padded: bytes) -> None:
    with pytest.raises(ValueError, match="padded"):
        unpad(padded)


def test_the_longest_content_fits_its_suite() -> None:
    assert len(chunking.split(bytes(32) + pad(bytes(CHUNKED_CONTENT_MAX)))) == CHUNKS_MAX
    with pytest.raises(ValueError, match="too many"):
        chunking.split(bytes(32) + pad(bytes(CHUNKED_CONTENT_MAX + 1)))
    assert len(pad(bytes(HYBRID_CONTENT_MAX))) == 65536


@pytest.mark.parametrize("size", [1, OAEP_MAX - 1, OAEP_MAX, OAEP_MAX + 1, 2 * OAEP_MAX, CHUNKS_MAX * OAEP_MAX])
def test_a_last_block_may_be_just_full(size: int) -> None:
    assert len(chunking.join(chunking.split(bytes(size)))) == size


@given(st.binary(max_size=CHUNKS_MAX * OAEP_MAX))
def test_blocks_round_trip(data: bytes) -> None:
    blocks = chunking.split(data)
    assert 1 <= len(blocks) <= CHUNKS_MAX
    assert all(len(block) == OAEP_MAX for block in blocks[:-1])
    assert chunking.join(blocks) == data


def test_split_refuses_what_is_too_long() -> None:
    chunking.split(bytes(CHUNKS_MAX * OAEP_MAX))
    with pytest.raises(ValueError, match="too many"):
        chunking.split(bytes(CHUNKS_MAX * OAEP_MAX + 1))


@pytest.mark.parametrize("blocks", [[], [b"x", b"y"], [b"x" * 189, b"y"], [b"x" * 191], [b"x" * 190, b"x" * 191], [b"", b""]])
def test_join_refuses_blocks_cut_short(blocks: list[bytes]) -> None:
    with pytest.raises(ValueError, match="cut short"):
        chunking.join(blocks)


@pytest.mark.parametrize("count", [1, 2, CHUNKS_MAX])
def test_sealed_blocks_are_cut_apart(count: int) -> None:
    data = b"".join(bytes([at]) * 256 for at in range(count))
    assert chunking.split_sealed(data) == [bytes([at]) * 256 for at in range(count)]
    for wrong in (data[:-1], data + b"x", b"", bytes(256 * (CHUNKS_MAX + 1))):
        with pytest.raises(ValueError, match="whole number"):
            chunking.split_sealed(wrong)
