"""Envelopes that no honest client makes, one for each rule of the receive order.

Unless it says otherwise, the liar holds the sender's signing key: the rule alone stands between the lie and the reader.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest

from core.bundle import Suite
from core.content import Text, encode_content, pad
from core.encoding import b64url, pack
from core.envelope import direct_cid, everyone_cid
from core.limits import CHUNKS_MAX, CLOCK_SKEW_MS, FRAME_MAX, MESSAGE_AGE_MAX_MS
from core.opening import RECEIVE_ORDER, Delivery
from core.rsa import Purpose
from tests.attacks.lies import NOW_MS, SUITES, Reader, draft, fields
from tests.forge import KIND_OF, PARTS, flip
from tests.hostile import Boom
from tests.keys import BROKER_KEY, keys_of
from tests.test_project import ROOT

STAGES = [name for name, _ in RECEIVE_ORDER]
ALICE, BOB, CAROL = keys_of("alice"), keys_of("bob"), keys_of("carol")


@SUITES
def test_the_truth_is_believed(suite: Suite) -> None:
    reader = Reader()
    opened = reader.open(draft(suite).make().delivery())
    assert opened.content == Text("hello")
    assert reader.key.operations == {Suite.HYBRID: 1, Suite.CHUNKED: 2}[suite]


@SUITES
def test_one_bit_of_any_byte_was_always_so(suite: Suite) -> None:
    """A forger without keys: every byte of every field, and no private operation for any of them."""
    genuine = draft(suite).make()
    reader = Reader()
    for inside in (True, False):
        one = genuine.delivery(inside=inside)
        for at in range(len(one.common)):
            common = flip(at)(one.common)
            stage, operations = reader.refuses(Delivery(one.mid, one.sender, common, one.wrap))
            assert STAGES.index(stage) < STAGES.index("decrypt"), (at, stage)
            assert operations == 0
    for at in range(len(genuine.wraps[0])):
        assert reader.refuses(genuine.tampered("wraps", flip(at)).delivery()) == ("recipient", 0)
    assert reader.key.operations == 0


@SUITES
@pytest.mark.parametrize("part", PARTS)
def test_a_field_is_a_program(suite: Suite, part: str) -> None:
    """A pickle that leaves a mark when it is loaded, in the place of each field, and of the whole."""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        raw = pickle.dumps(Boom(), protocol)
        forged = draft(suite).make().tampered(part, lambda _, raw=raw: raw)  # type: ignore[misc]
        stage, operations = Reader().refuses(forged.delivery())
        assert (STAGES.index(stage) < STAGES.index("decrypt"), operations) == (True, 0)
        assert Reader().refuses(Delivery(forged.mid, "alice", raw, None)) == ("parse", 0)
        assert Reader().refuses(draft(suite, plain=raw).make().delivery())[0] == "content"
    assert not Boom.ran


COMMONS: dict[str, Callable[[list[bytes]], bytes]] = {
    "six parts": lambda parts: pack(parts[:-1]),
    "eight parts": lambda parts: pack([*parts, b""]),
    "a byte left over": lambda parts: pack(parts) + b"\0",
    "a byte missing": lambda parts: pack(parts)[:-1],
    "a length that runs past the end": lambda parts: pack(parts[:6]) + b"\xff\xff\xff\xff" + parts[6],
    "a digest more": lambda parts: pack([parts[0], parts[1] + bytes(32), *parts[2:]]),
    "no digest": lambda parts: pack([parts[0], b"", *parts[2:]]),
    "a signature of 255 bytes": lambda parts: pack([*parts[:4], parts[4][1:], *parts[5:]]),
    "a signature of 257 bytes": lambda parts: pack([*parts[:4], parts[4] + b"\0", *parts[5:]]),
    "no signature": lambda parts: pack([*parts[:4], b"", *parts[5:]]),
    "a key of 293 bytes": lambda parts: pack([*parts[:5], parts[5][:-1], parts[6]]),
    "a key of 295 bytes": lambda parts: pack([*parts[:5], parts[5] + b"\0", parts[6]]),
    "no wrap": lambda parts: pack([*parts[:6], b""]),
    "nothing": lambda _: b"",
}


@SUITES
@pytest.mark.parametrize("lie", COMMONS)
def test_the_parts_are_other_parts(suite: Suite, lie: str) -> None:
    forged = draft(suite).make()
    common = COMMONS[lie]([*forged.parts, forged.wraps[0]])
    assert Reader().refuses(Delivery(forged.mid, "alice", common, None)) == ("parse", 0)


@SUITES
def test_two_wraps_are_one(suite: Suite) -> None:
    inside = draft(suite).make().delivery(inside=True)
    assert Reader().refuses(Delivery(inside.mid, "alice", inside.common, b"another wrap")) == ("parse", 0)


@SUITES
def test_more_than_a_frame_is_one_message(suite: Suite) -> None:
    forged = draft(suite).make()
    common = forged.delivery().common
    assert Reader().refuses(Delivery(forged.mid, "alice", common + bytes(FRAME_MAX + 1 - len(common)), None)) == ("limits", 0)
    assert Reader().refuses(Delivery(forged.mid, "alice", common + bytes(FRAME_MAX - len(common)), None)) == ("parse", 0)


TRIPLES = [
    ("none", "A256GCM", "sc1"), ("RSA1_5", "A256GCM", "sc1"), ("RSA-OAEP", "A256GCM", "sc1"), ("dir", "A256GCM", "sc1"),
    ("RSA-OAEP-256", "A128GCM", "sc1"), ("RSA-OAEP-256", "none", "sc1"), ("RSA-OAEP-256", "A256GCM", "sc0"),
    ("RSA-OAEP-256", "A256GCM", "JWT"), ("RSA-OAEP-256", "sc1-chunked", "JWT"), ("rsa-oaep-256", "A256GCM", "sc1"),
]  # fmt: skip


@SUITES
@pytest.mark.parametrize("triple", TRIPLES)
def test_an_algorithm_of_the_senders_choice(suite: Suite, triple: tuple[str, str, str]) -> None:
    alg, enc, typ = triple
    assert Reader().refuses(draft(suite, header=fields(alg=alg, enc=enc, typ=typ)).make().delivery()) == ("allow-list", 0)


@SUITES
def test_one_suite_is_the_other(suite: Suite) -> None:
    other = KIND_OF[Suite.CHUNKED if suite is Suite.HYBRID else Suite.HYBRID]
    assert Reader().refuses(draft(suite, header=fields(enc=other.enc)).make().delivery()) == ("allow-list", 0)


def test_sizes_that_do_not_fit_the_suite() -> None:
    hybrid, chunked = draft(Suite.HYBRID), draft(Suite.CHUNKED)
    for forged in (
        hybrid.but(iv=bytes(11)).make(),
        hybrid.but(iv=bytes(13)).make(),
        hybrid.but(padded=bytes(255)).make(),
        hybrid.but(wrap=lambda wrap: wrap[1:]).make(),
        hybrid.but(wrap=lambda wrap: wrap + wrap).make(),
        chunked.but(wrap=lambda wrap: wrap[1:]).make(),
        chunked.but(wrap=lambda wrap: wrap + bytes(1)).make(),
        chunked.but(wrap=lambda wrap: wrap * (CHUNKS_MAX // 2) + bytes(256)).make(),  # 45 blocks
    ):
        assert Reader().refuses(forged.delivery()) == ("allow-list", 0)
    # What a chunked message's signature does not cover must not be there.
    for part in ("iv", "body"):
        assert Reader().refuses(chunked.make().tampered(part, lambda _: b"extra").delivery()) == ("allow-list", 0)


def test_44_blocks_fit_and_45_do_not() -> None:
    chunked = draft(Suite.CHUNKED).but(wrap=lambda wrap: wrap * (CHUNKS_MAX // 2))
    assert Reader().refuses(chunked.make().delivery())[0] == "decrypt"


@SUITES
def test_the_key_that_signed_is_not_the_key_that_is_named(suite: Suite) -> None:
    mallory = keys_of("mallory").signing
    named = draft(suite, header=fields(ik=b64url(mallory.public.kid))).make()
    assert Reader().refuses(named.delivery()) == ("sender", 0)
    brought = draft(suite, signer=mallory).make().tampered("spki", lambda _: mallory.public.spki)
    assert Reader().refuses(brought.delivery()) == ("sender", 0)


@SUITES
def test_a_key_that_is_not_the_pinned_one_is_as_good(suite: Suite) -> None:
    asked: list[tuple[str, bytes]] = []

    def pinned(user: str, kid: bytes) -> bool:
        asked.append((user, kid))
        return False

    assert Reader(may_receive=pinned).refuses(draft(suite).make().delivery()) == ("pin", 0)
    assert asked == [("alice", ALICE.signing.public.kid)]


@SUITES
def test_a_message_to_somebody_else_is_for_me(suite: Suite) -> None:
    others = draft(suite, reader="carol").make()
    assert Reader().refuses(others.delivery()) == ("recipient", 0)
    # My name, but a key that is not mine; and my key, but not my name.
    assert Reader().refuses(draft(suite, to=[("bob", CAROL.opening.public, 1)]).but(
        cid=direct_cid(ALICE.signing.public.kid, BOB.signing.public.kid)).make().delivery()) == ("recipient", 0)  # fmt: skip
    mine = [["carol", b64url(BOB.opening.public.kid), 1]]
    assert Reader().refuses(draft(suite, header=fields(to=mine)).make().delivery()) == ("recipient", 0)


@SUITES
def test_a_wrap_of_my_own_goes_with_their_text(suite: Suite) -> None:
    mine, other = draft(suite).make(), draft(suite, mid=bytes(16)).make()
    mine.wraps = other.wraps
    assert Reader().refuses(mine.delivery()) == ("recipient", 0)


@SUITES
def test_a_message_from_another_conversation_belongs_here(suite: Suite) -> None:
    kid = [keys.signing.public.kid for keys in (ALICE, BOB, CAROL)]
    for cid in (direct_cid(kid[0], kid[2]), direct_cid(kid[1], kid[2]), everyone_cid(bytes(32)), bytes(32)):
        assert Reader().refuses(draft(suite, cid=cid).make().delivery()) == ("recipient", 0)
    # A direct message has one recipient: what two read is not shown as private.
    both = [("bob", BOB.opening.public, 1), ("carol", CAROL.opening.public, 1)]
    assert Reader().refuses(draft(suite, to=both).make().delivery()) == ("recipient", 0)
    assert Reader().open(draft(suite, cid=everyone_cid(BROKER_KEY)).make().delivery()).everyone


@SUITES
@pytest.mark.parametrize("made_for", Purpose)
def test_a_signature_for_one_thing_is_one_for_another(suite: Suite, made_for: Purpose) -> None:
    forged = draft(suite, purpose=made_for).make().delivery()
    if made_for is KIND_OF[suite].purpose:
        assert Reader().open(forged).content == Text("hello")
    else:
        assert Reader().refuses(forged) == ("signature", 0)


@SUITES
def test_the_signature_covers_something_else(suite: Suite) -> None:
    one, other = draft(suite).make(), draft(suite, plain=encode_content(Text("other")), mid=bytes(16)).make()
    for taken in (other.parts[4], bytes(256), b"\xff" * 256):
        assert Reader().refuses(one.tampered("signature", lambda _, taken=taken: taken).delivery()) == ("signature", 0)  # type: ignore[misc]


@SUITES
def test_the_broker_gives_it_another_name_or_number(suite: Suite) -> None:
    one = draft(suite).make().delivery()
    assert Reader().refuses(Delivery(bytes(16), "alice", one.common, one.wrap)) == ("route", 0)
    assert Reader().refuses(Delivery(one.mid, "mallory", one.common, one.wrap)) == ("route", 0)


@SUITES
def test_old_news_is_new_and_news_of_tomorrow_is_from_today(suite: Suite) -> None:
    for now, fresh in (
        (NOW_MS + MESSAGE_AGE_MAX_MS, True),
        (NOW_MS + MESSAGE_AGE_MAX_MS + 1, False),
        (NOW_MS - CLOCK_SKEW_MS, True),
        (NOW_MS - CLOCK_SKEW_MS - 1, False),
    ):
        one = draft(suite).make().delivery()
        if fresh:
            assert Reader().open(one, now).ts == NOW_MS
        else:
            assert Reader().refuses(one, now) == ("freshness", 0)


@SUITES
def test_what_was_taken_once_is_new(suite: Suite) -> None:
    proof = bytes(range(32))

    def taken(kid: bytes, mid: bytes) -> bytes | None:
        return proof if (kid, mid) == (ALICE.signing.public.kid, bytes(range(16))) else None

    assert Reader(seen=taken).refuses(draft(suite).make().delivery()) == ("replay", 0)
    assert Reader(seen=taken).open(draft(suite, mid=bytes(16)).make().delivery()).mid == bytes(16)


@SUITES
def test_the_secret_has_another_size(suite: Suite) -> None:
    if suite is Suite.HYBRID:
        for size in (0, 16, 31, 33):
            assert Reader().refuses(draft(suite, wrapped=bytes(size)).make().delivery()) == ("decrypt", 1)
    else:
        short = draft(suite, secret=bytes(7), padded=b"").make()
        assert Reader().refuses(short.delivery()) == ("decrypt", 1)


@SUITES
def test_the_commitment_is_to_another_key_or_text(suite: Suite) -> None:
    stage, _ = Reader().refuses(draft(suite, commitment=bytes(32)).make().delivery())
    assert stage == "commitment"


def test_the_text_was_encrypted_under_another_header() -> None:
    assert Reader().refuses(draft(Suite.HYBRID, body=flip(0)).make().delivery()) == ("aead", 1)
    assert Reader().refuses(draft(Suite.HYBRID, body=flip(-1)).make().delivery()) == ("aead", 1)


PADDED = {
    "no mark": bytes(256),
    "no padding": b"x" * 256,
    "a whole block too much": pad(encode_content(Text("hi"))) + bytes(256),
    "not whole": pad(encode_content(Text("hi")))[:-1] + b"\1",
    "bytes behind the mark": pad(encode_content(Text("hi")))[:-2] + b"ab",
}


@SUITES
@pytest.mark.parametrize("lie", PADDED)
def test_padding_carries_something(suite: Suite, lie: str) -> None:
    assert Reader().refuses(draft(suite, padded=PADDED[lie]).make().delivery())[0] == "unpad"


def test_more_fits_than_fits() -> None:
    # 65,535 bytes are the most for the hybrid suite; what the chunked one takes at most, its 44 blocks say already.
    most = encode_content(Text("x" * (65_535 - len(encode_content(Text(""))) - 2)))
    for plain, fits in ((most, True), (most + bytes(5), False)):
        one = draft(Suite.HYBRID, plain=plain).make().delivery()
        if fits:
            assert Reader().open(one)
        else:
            assert Reader().refuses(one) == ("unpad", 1)


CONTENTS = {
    "nothing": b"", "no map": b"\x93\1\2\3", "no type": b"\x80", "a type that is a number": b"\x81\xa4type\x01",
    "no UTF-8": b"\x82\xa4type\xa4text\xa4text\xa1\xff", "text that is missing": b"\x81\xa4type\xa4text",
    "text that is bytes": b"\x82\xa4type\xa4text\xa4text\xc4\1x", "two values": encode_content(Text("a")) * 2,
    "nested without end": b"\x82\xa4type\xa4text\xa4text" + b"\x91" * 180,
    "33 numbers given up": encode_content(Text("a", tuple(("b", at) for at in range(33)))),
}  # fmt: skip


@SUITES
@pytest.mark.parametrize("lie", CONTENTS)
def test_what_is_inside_is_text(suite: Suite, lie: str) -> None:
    assert Reader().refuses(draft(suite, plain=CONTENTS[lie]).make().delivery())[0] == "content"


def test_the_order_of_the_checks_is_the_documented_one() -> None:
    table = (ROOT / "docs/PROTOCOL.md").read_text().split("### 3.7")[1].split("### 3.8")[0]
    rows = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")]
    assert [row for row in rows if row not in ("stage", "---")] == STAGES
