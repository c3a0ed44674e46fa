"""The scenarios of tests/vectors/envelope. Alice writes; Bob opens; Mallory signs what no honest client would."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from core.bundle import Kind, Suite
from core.content import Text, encode_content, pad
from core.encoding import b64url
from core.envelope import delivery_proof, direct_cid, everyone_cid
from core.limits import CLOCK_SKEW_MS, COUNTER_MAX, FRAME_MAX, MESSAGE_AGE_MAX_MS
from core.opening import Delivery
from core.rsa import Purpose
from tests.forge import CHUNKED, HYBRID, KIND_OF, Draft, Edit, Forged, direct, flip
from tests.keys import BROKER_KEY, keys_of

NOW: Final = 1_800_000_000_000
ALICE, BOB, CAROL, DAVE, MALLORY = map(keys_of, ("alice", "bob", "carol", "dave", "mallory"))

Vectors = dict[str, dict[str, Any]]


def base(suite: Suite, **changes: Any) -> Draft:
    """Alice's direct message to Bob."""
    return direct(suite, "alice", ALICE, "bob", BOB, **changes)


def everyone(suite: Suite, **changes: Any) -> Draft:
    """Alice's message to Bob and Carol as everyone."""
    to = [("bob", BOB.opening.public, 4), ("carol", CAROL.opening.public, 9)]
    return base(suite, to=to, cid=everyone_cid(BROKER_KEY)).but(**changes)


def swap(old: bytes, new: bytes) -> Edit:
    """An edit that replaces ``old``, which must be there."""

    def edit(data: bytes) -> bytes:
        if old not in data:
            raise ValueError(f"{old!r} is not in {data!r}")
        return data.replace(old, new, 1)

    return edit


def _case(
    expect: str, about: str, what: Forged | Delivery, *, operations: int = 0, secret: bytes = b"", **more: Any
) -> dict[str, Any]:
    delivery = what.delivery() if isinstance(what, Forged) else what
    ok = {"proof": delivery_proof(secret, delivery.mid, BOB.signing.public.kid)} if secret else {}
    return {
        "about": about,
        "expect": expect,
        "private_operations": operations,
        "now_ms": NOW,
        "me": {"user": "bob", "keys": "bob", "broker_key": BROKER_KEY},
        "pinned": None,
        "seen": False,
        "mid": delivery.mid,
        "sender": delivery.sender,
        "common": delivery.common,
        "wrap": delivery.wrap,
        **ok,
        **more,
    }


def _good(about: str, draft: Draft, text: str | None = "hello", **more: Any) -> dict[str, Any]:
    made = draft.make()
    operations = len(made.wraps[0]) // 256
    return _case("ok", about, made, operations=operations, secret=draft.secret, text=text, **more)


def _late(expect: str, about: str, draft: Draft) -> dict[str, Any]:
    """One that is signed in good form, so that only the private key tells what is wrong."""
    made = draft.make()
    return _case(expect, about, made, operations=len(made.wraps[0]) // 256)


def _good_ones(suite: Suite) -> Vectors:
    b, e = base(suite), everyone(suite)
    unknown = msgspec.msgpack.encode({"type": "sticker", "picture": 7})
    return {
        "ok-direct": _good("the wrap inside common, to one person", b),
        "ok-everyone-of-two": _good("the wrap beside common, Bob first of two", e, to=["bob", "carol"]),
        "ok-everyone-of-one": _good("to everyone, and only Bob is there", b.but(cid=everyone_cid(BROKER_KEY))),
        "ok-empty-text": _good("a text without characters", b.but(plain=encode_content(Text(""))), ""),
        "ok-unicode": _good("a text beyond ASCII", b.but(plain=encode_content(Text("naïve \N{SNOWMAN}"))), "naïve \N{SNOWMAN}"),
        "ok-unknown-type": _good("content of a type to come", b.but(plain=unknown), None, unknown_type="sticker"),
        "ok-oldest": _good("31 days old, to the millisecond", b.but(ts=NOW - MESSAGE_AGE_MAX_MS)),
        "ok-fastest-clock": _good("5 minutes ahead, to the millisecond", b.but(ts=NOW + CLOCK_SKEW_MS)),
        "ok-profile": _good("from a profile", b.but(sender_kind=Kind.PROFILE), kind="profile"),
        "ok-pinned": _good("from the key that a person holds the name to", b, pinned=ALICE.signing.public.kid),
        "ok-largest-counter": _good("n at its greatest", b.but(to=[("bob", BOB.opening.public, COUNTER_MAX)])),
        "ok-two-pads": _good("a text of 300 bytes, padded to 512", b.but(plain=encode_content(Text("x" * 300))), "x" * 300),
    }


def _parse(suite: Suite) -> Vectors:
    b = base(suite)
    made = b.make()
    common = made.delivery().common
    kid = BOB.opening.public.kid
    mid_text = b64url(b.mid).encode()
    headers = {
        "space": ("white space in the header", swap(b",", b", ")),
        "newline-at-end": ("a newline behind the header", lambda h: h + b"\n"),
        "duplicate-key": ("one key twice", swap(b'"alg":"RSA-OAEP-256"', b'"alg":"RSA-OAEP-256","alg":"RSA-OAEP-256"')),
        "unknown-key": ("a key that is not known", swap(b'"alg"', b'"zip":"DEF","alg"')),
        "no-kind": ("no word on what the sender is", lambda h: re.sub(rb'"kind":"[^"]*",', b"", h)),
        "missing-key": ("no sid", lambda h: re.sub(rb'"sid":"[^"]*",', b"", h)),
        "reordered-keys": ("enc before alg", lambda h: re.sub(rb'("alg":"[^"]*"),("enc":"[^"]*")', rb"\2,\1", h)),
        "needless-escape": ("a letter written as an escape", swap(b'"alice"', b'"\\u0061lice"')),
        "mid-stray-bits": ("base64url with stray bits in its last character", swap(mid_text, mid_text[:-1] + b"x")),
        "mid-padded": ("base64url with padding", swap(mid_text, mid_text + b"==")),
        "mid-short": ("a mid of 15 bytes", swap(mid_text, b64url(b.mid[:15]).encode())),
        "ts-float": ("a time with a fraction", swap(str(NOW).encode(), str(NOW).encode() + b".0")),
        "ts-nan": ("a time that is no number", swap(str(NOW).encode(), b"NaN")),
        "ts-negative": ("a time before 1970", swap(str(NOW).encode(), b"-1")),
        "ts-leading-zero": ("a time with a leading zero", swap(str(NOW).encode(), b"0" + str(NOW).encode())),
        "deep-nesting": ("lists within lists", swap(str(NOW).encode(), b"[" * 5000 + b"]" * 5000)),
        "not-json": ("no JSON at all", lambda _: b"\x80\x04K\x01."),
        "byte-order-mark": ("a byte order mark before the header", lambda h: b"\xef\xbb\xbf" + h),
        "header-too-long": ("a header over 32 KiB", swap(b'"alice"', b'"' + b"a" * 32 * 1024 + b'"')),
    }
    fields: dict[str, tuple[str, dict[str, Any]]] = {
        "n-zero": ("a counter of 0", {"to": [["bob", b64url(kid), 0]]}),
        "n-too-large": ("a counter of 2^53", {"to": [["bob", b64url(kid), COUNTER_MAX + 1]]}),
        "to-empty": ("no recipients", {"to": []}),
        "to-unsorted": ("recipients out of order", {"to": [["carol", b64url(kid), 1], ["bob", b64url(kid), 1]]}),
        "to-repeated": ("a recipient twice", {"to": [["bob", b64url(kid), 1], ["bob", b64url(kid), 2]]}),
        "to-too-many": ("257 recipients", {"to": [[f"u{i:03}", b64url(kid), 1] for i in range(257)]}),
        "to-reserved-name": ("a recipient called everyone", {"to": [["everyone", b64url(kid), 1]]}),
        "kid-short": ("a kid of 31 bytes", {"to": [["bob", b64url(kid[:31]), 1]]}),
        "from-upper-case": ("a sender that is not a username", {"from": "Alice"}),
        "kind-unknown": ("a sender that is neither guest nor profile", {"kind": "robot"}),
        "kc-long": ("a commitment of 33 bytes", {"kc": b64url(bytes(33))}),
    }
    others: dict[str, tuple[str, Delivery]] = {
        "empty": ("nothing", Delivery(b.mid, "alice", b"", None)),
        "cut-short": ("the last byte is missing", Delivery(b.mid, "alice", common[:-1], None)),
        "byte-left-over": ("one byte too many", Delivery(b.mid, "alice", common + b"\0", None)),
        "length-lies": ("a first length of 4 GiB", Delivery(b.mid, "alice", b"\xff" * 4 + common[4:], None)),
        "pickle": ("a pickle that would run a command", Delivery(b.mid, "alice", b"cposix\nsystem\n(S'true'\ntR.", None)),
        "two-wraps": ("a wrap inside and one beside", Delivery(b.mid, "alice", common, made.wraps[0])),
        "no-wrap": ("no wrap at all", Delivery(b.mid, "alice", made.delivery(inside=False).common, None)),
        "short-signature": ("a signature of 255 bytes", made.tampered("signature", lambda s: s[:-1]).delivery()),
        "short-key": ("an identity key of 293 bytes", made.tampered("spki", lambda s: s[:-1]).delivery()),
        "extra-digest": ("a digest too many", made.tampered("digests", lambda d: d + d).delivery()),
    }
    return {
        **{f"parse-{name}": _case("parse", about, b.but(header=edit).make()) for name, (about, edit) in headers.items()},
        **{f"parse-{name}": _case("parse", about, b.but(fields=change).make()) for name, (about, change) in fields.items()},
        **{f"parse-{name}": _case("parse", about, delivery) for name, (about, delivery) in others.items()},
    }


def _allow_list_and_sender(suite: Suite) -> Vectors:
    b = base(suite)
    made = b.make()
    other_shape = base(Suite.CHUNKED if suite is Suite.HYBRID else Suite.HYBRID).make()
    spki = ALICE.signing.public.spki
    triples = {
        "alg-none": {"alg": "none"},
        "alg-rsa1_5": {"alg": "RSA1_5"},
        "alg-rsa-oaep": {"alg": "RSA-OAEP"},
        "enc-a128gcm": {"enc": "A128GCM"},
        "typ-other": {"typ": "sc2"},
        "enc-of-the-other-suite": {"enc": (HYBRID if suite is Suite.CHUNKED else CHUNKED).enc},
    }
    shapes = {
        "wrap-of-the-other-suite": Forged("alice", b.mid, made.parts, other_shape.wraps),
        "iv-of-13": made.tampered("iv", lambda _: bytes(13)),
        "body-of-16": made.tampered("body", lambda _: bytes(16)),
        "wrap-of-255": made.tampered("wraps", lambda wrap: wrap[:-1]),
        "wrap-of-45-blocks": made.tampered("wraps", lambda wrap: (wrap * 45)[: 45 * 256]),
    }
    if suite is Suite.CHUNKED:
        del shapes["wrap-of-the-other-suite"]  # one block is a possible shape
    keys = {
        "mallory's key for alice's kid": ("sender-other-key", lambda _: MALLORY.signing.public.spki),
        "an exponent of 65539": ("sender-exponent", lambda key: key[:-1] + b"\x03"),
        "an even modulus": ("sender-even-modulus", lambda key: key[:-6] + bytes([key[-6] & 0xFE]) + key[-5:]),
        "bytes that are no key": ("sender-not-a-key", lambda key: bytes(len(key))),
    }
    if spki[-5:] != bytes.fromhex("0203010001"):
        raise ValueError("an exponent is not where it was expected")
    return {
        **{f"allow-list-{n}": _case("allow-list", f"header with {c}", b.but(fields=c).make()) for n, c in triples.items()},
        **{f"allow-list-{name}": _case("allow-list", "parts of a wrong shape", forged) for name, forged in shapes.items()},
        **{name: _case("sender", about, made.tampered("spki", edit)) for about, (name, edit) in keys.items()},
        "sender-other-kid": _case("sender", "the header names another key", b.but(fields={"ik": b64url(bytes(32))}).make()),
    }


def _recipient(suite: Suite) -> Vectors:
    b, e = base(suite), everyone(suite)
    made = b.make()
    two = everyone(suite, cid=b.cid)
    carol_cid = direct_cid(ALICE.signing.public.kid, CAROL.signing.public.kid)
    return {
        "recipient-somebody-else": _case(
            "recipient", "sealed to Carol only", direct(suite, "alice", ALICE, "carol", CAROL).make()
        ),
        "recipient-other-key": _case(
            "recipient", "to Bob under a key he does not have", b.but(to=[("bob", DAVE.opening.public, 1)]).make()
        ),
        "recipient-other-wrap": _case("recipient", "the wrap of another recipient", e.make().delivery(1)),
        "recipient-altered-wrap": _case("recipient", "a bit of the wrap is turned over", made.tampered("wraps", flip(100))),
        "recipient-altered-digests": _case(
            "recipient", "a bit of the digest is turned over", made.tampered("digests", flip(0))
        ),
        "recipient-conversation-with-carol": _case(
            "recipient", "re-targeted from another conversation", b.but(cid=carol_cid).make()
        ),
        "recipient-everyone-elsewhere": _case(
            "recipient", "everyone of another broker", b.but(cid=everyone_cid(bytes(32))).make()
        ),
        "recipient-direct-to-two": _case("recipient", "a direct conversation with two recipients", two.make()),
    }


def _signature_to_replay(suite: Suite) -> Vectors:
    b, e = base(suite), everyone(suite)
    made = b.make()
    other = Purpose.CHUNKED if KIND_OF[suite] is HYBRID else Purpose.ENVELOPE
    vectors = {
        "signature-altered": _case("signature", "a bit of the signature is turned over", made.tampered("signature", flip(9))),
        "signature-zero": _case("signature", "a signature of zeros", made.tampered("signature", lambda s: bytes(len(s)))),
        "signature-by-mallory": _case("signature", "signed by another key", b.but(signer=MALLORY.signing).make()),
        "signature-altered-time": _case(
            "signature", "the time was changed", made.tampered("header", swap(b"1800000000000", b"1800000000001"))
        ),
        "signature-altered-counter": _case("signature", "n was changed", made.tampered("header", swap(b",1]", b",2]"))),
        "signature-altered-neighbour": _case(
            "signature", "another recipient's digest was changed", e.make().tampered("digests", flip(40))
        ),
        "route-other-mid": _case(
            "route", "the broker names another mid", Delivery(bytes(16), "alice", made.delivery().common, None)
        ),
        "route-other-sender": _case(
            "route", "the broker names another sender", Delivery(b.mid, "carol", made.delivery().common, None)
        ),
        "freshness-too-old": _case("freshness", "31 days and a millisecond old", b.but(ts=NOW - MESSAGE_AGE_MAX_MS - 1).make()),
        "freshness-ahead": _case("freshness", "5 minutes and a millisecond ahead", b.but(ts=NOW + CLOCK_SKEW_MS + 1).make()),
        "freshness-far-ahead": _case("freshness", "a time of 40 digits", b.but(ts=10**40).make()),
        "replay": _case("replay", "taken before", made, seen=True),
        "pin-changed-key": _case("pin", "the name is pinned to another key", made, pinned=MALLORY.signing.public.kid),
    }
    purposes = {Purpose.LOGIN, Purpose.BUNDLE, other}
    for purpose in sorted(purposes, key=lambda one: one.value):
        forged = b.but(purpose=purpose).make()
        vectors[f"signature-for-{purpose.value}"] = _case("signature", f"signed for the purpose {purpose.value}", forged)
    if suite is Suite.HYBRID:
        vectors["signature-altered-iv"] = _case("signature", "a bit of the iv is turned over", made.tampered("iv", flip(0)))
        vectors["signature-altered-body"] = _case(
            "signature", "a bit of the text is turned over", made.tampered("body", flip(7))
        )
        vectors["signature-altered-tag"] = _case(
            "signature", "a bit of the tag is turned over", made.tampered("body", flip(-1))
        )
    return vectors


def _inside(suite: Suite) -> Vectors:
    """What an able sender signs properly although the inside is wrong."""
    b = base(suite)
    padded = pad(b.plain)
    contents = {
        "not-msgpack": b"\xc1",
        "empty": b"",
        "a-list": msgspec.msgpack.encode(["text", "hello"]),
        "no-type": msgspec.msgpack.encode({"text": "hello"}),
        "text-is-a-number": msgspec.msgpack.encode({"type": "text", "text": 7}),
        "void-too-long": encode_content(Text("hello", tuple(("bob", n) for n in range(33)))),
        "text-missing": msgspec.msgpack.encode({"type": "text"}),
        "byte-left-over": encode_content(Text("hello")) + b"\0\x01",
        "bad-utf-8": encode_content(Text("hello")).replace(b"hello", b"he\xffo!"),
        "pickle": b"\x80\x04cposix\nsystem\n\x8c\x04true\x85R.",
    }
    pads = {
        "no-marker": bytes(256),
        "not-zeros": padded[:-1] + b"\x01",
        "longer-than-needed": b.plain + b"\x80" + bytes(511 - len(b.plain)),
        "too-short": b.plain + b"\x80",
    }
    if suite is Suite.HYBRID:
        del pads["too-short"]  # the body would be under its least size
    return {
        **{f"content-{n}": _late("content", "content that does not decode", b.but(plain=p)) for n, p in contents.items()},
        **{f"unpad-{n}": _late("unpad", "padding that pad() does not make", b.but(padded=p)) for n, p in pads.items()},
        "commitment-other": _late("commitment", "committed to something else", b.but(commitment=bytes(32))),
    }


def _suite_only(suite: Suite) -> Vectors:
    b = base(suite)
    if suite is Suite.HYBRID:
        # Two texts in one message: each key opens one of them, and only one of the keys is committed to.
        other_secret = bytes(32)
        return {
            "decrypt-sealed-to-another": _case(
                "decrypt",
                "the wrap opens with another key",
                b.but(wrap=lambda _: CAROL.opening.public.seal(b.secret)).make(),
                operations=1,
            ),
            "decrypt-noise": _case("decrypt", "the wrap is noise", b.but(wrap=lambda _: b"\x01" * 256).make(), operations=1),
            "decrypt-short-secret": _late("decrypt", "a secret of 31 bytes", b.but(wrapped=bytes(31))),
            "decrypt-long-secret": _late("decrypt", "a secret of 33 bytes", b.but(wrapped=bytes(33))),
            "commitment-another-key": _late(
                "commitment", "a wrap with a key that is not committed to", b.but(wrapped=other_secret)
            ),
            "aead-tag": _late("aead", "a wrong tag, signed", b.but(body=flip(-1))),
            "aead-text": _late("aead", "altered ciphertext, signed", b.but(body=flip(3))),
        }
    half = b.but(plain=encode_content(Text("x" * 300)))
    return {
        "decrypt-swapped-blocks": _case(
            "decrypt", "blocks swapped, signed", half.but(blocks=lambda b: b[::-1]).make(), operations=1
        ),
        "decrypt-dropped-block": _case(
            "decrypt", "the last block dropped, signed", half.but(blocks=lambda b: b[:-1]).make(), operations=1
        ),
        "decrypt-repeated-block": _case(
            "decrypt", "a block twice, signed", half.but(blocks=lambda b: [*b, b[0]]).make(), operations=1
        ),
        "decrypt-block-of-another-message": _case(
            "decrypt",
            "the last block comes from another message",
            half.but(blocks=lambda b: [*b[:-1], half.but(mid=bytes(16)).make().wraps[0][-256:]]).make(),
            operations=3,
        ),
        "decrypt-no-labels": _case(
            "decrypt", "blocks without labels", half.but(labels=lambda x: [b""] * len(x)).make(), operations=1
        ),
        "decrypt-short": _late("decrypt", "one block of 31 bytes", b.but(secret=bytes(31), padded=b"")),
        "unpad-nothing": _late("unpad", "no content at all", b.but(padded=b"")),
    }


def envelope_vectors() -> Vectors:
    """All scenarios, by name."""
    vectors: Vectors = {}
    for suite in Suite:
        made = base(suite).make()
        padding = FRAME_MAX - len(made.delivery().common) + 1
        mine = {"limits-common-too-long": _case("limits", "common over 128 KiB", made, common_zeros_appended=padding)}
        for group in (_good_ones, _parse, _allow_list_and_sender, _recipient, _signature_to_replay, _inside, _suite_only):
            mine |= group(suite)
        vectors |= {f"{suite.value}-{name}": {"suite": suite.value, **vector} for name, vector in mine.items()}
    return vectors
