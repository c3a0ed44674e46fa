"""The scenarios of tests/vectors/bundle, login and frames."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from core import frames, messages
from core.bundle import Kind, SignedBundle, sign_bundle
from core.encoding import b64url
from core.limits import BUNDLE_LIFE
from core.login import LoginContext, prove
from core.rsa import Purpose
from tests.keys import BROKER_KEY, keys_of

NOW: Final = 1_800_000_000
ALICE, BOB, MALLORY = map(keys_of, ("alice", "bob", "mallory"))

Vectors = dict[str, dict[str, Any]]
_Edit = Callable[[bytes], bytes]


def _replace(pattern: str, by: str) -> _Edit:
    def edit(body: bytes) -> bytes:
        text, count = re.subn(pattern, by, body.decode())
        if count != 1:
            raise ValueError(f"{pattern} is there {count} times")
        return text.encode()

    return edit


def bundle_vectors() -> Vectors:
    """Bundles of Alice, each signed over what it says unless its name tells otherwise."""
    good = sign_bundle("alice", Kind.GUEST, ALICE.signing, ALICE.opening.public, seq=1, now=NOW)
    ik, ek = b64url(ALICE.signing.public.spki), b64url(ALICE.opening.public.spki)
    even = bytearray(ALICE.opening.public.spki)
    even[-6] &= 0xFE
    edits: dict[str, tuple[str, _Edit]] = {
        "other-name": ("it speaks of bob", _replace('"alice"', '"bob"')),
        "reserved-name": ("it speaks of everyone", _replace('"alice"', '"everyone"')),
        "white-space": ("a space", _replace('"user":', '"user": ')),
        "unknown-key": ("a key that is not known", _replace("^{", '{"x":1,')),
        "missing-key": ("no seq", _replace('"seq":1,', "")),
        "seq-zero": ("a seq of 0", _replace('"seq":1', '"seq":0')),
        "seq-too-large": ("a seq of 2^53", _replace('"seq":1', f'"seq":{2**53}')),
        "ends-before-it-begins": ("exp before nbf", _replace('"exp":[0-9]+', f'"exp":{NOW - 1}')),
        "lives-too-long": ("a second over 30 days", _replace('"exp":[0-9]+', f'"exp":{NOW + BUNDLE_LIFE + 1}')),
        "no-suites": ("no suites", _replace(r'"suites":\[[^]]*\]', '"suites":[]')),
        "unsorted-suites": ("suites out of order", _replace('"chunked","hybrid"', '"hybrid","chunked"')),
        "unknown-suite": ("a suite that is not known", _replace('"hybrid"', '"rot13"')),
        "unknown-kind": ("a kind that is not known", _replace('"guest"', '"admin"')),
        "one-key-two-jobs": ("the identity key as encryption key", _replace(f'"ek":"{ek}"', f'"ek":"{ik}"')),
        "key-exponent-65539": ("another exponent", _replace(ek, b64url(ALICE.opening.public.spki[:-1] + b"\x03"))),
        "key-even-modulus": ("nothing can be sealed to it", _replace(f'"ek":"{ek}"', f'"ek":"{b64url(bytes(even))}"')),
        "key-cut-short": ("half a key", _replace(f'"ek":"{ek}"', f'"ek":"{ek[:196]}"')),
        "too-large": ("over 2 KiB", lambda body: body + b" " * 2048),
    }
    vectors: Vectors = {"ok": _bundle("ok", "an honest one", good), "ok-other-kind": _bundle("ok", "a profile's", _profile())}
    for name, (about, edit) in edits.items():
        body = edit(good.body)
        vectors[name] = _bundle("refused", about, SignedBundle(body, ALICE.signing.sign(Purpose.BUNDLE, body)))
    signatures = {
        "altered": (good.body, bytes([good.signature[0] ^ 1]) + good.signature[1:]),
        "altered-body": (good.body.replace(b'"seq":1', b'"seq":2'), good.signature),
        "by-mallory": (good.body, MALLORY.signing.sign(Purpose.BUNDLE, good.body)),
        "for-login": (good.body, ALICE.signing.sign(Purpose.LOGIN, good.body)),
        "empty": (good.body, b""),
        "over-4-kib": (good.body, bytes(4096)),
    }
    for name, (body, signature) in signatures.items():
        vectors[f"signature-{name}"] = _bundle("refused", "the signature does not fit", SignedBundle(body, signature))
    return vectors


def _profile() -> SignedBundle:
    return sign_bundle("alice", Kind.PROFILE, ALICE.signing, ALICE.opening.public, seq=7, now=NOW)


def _bundle(expect: str, about: str, signed: SignedBundle) -> dict[str, Any]:
    return {"about": about, "expect": expect, "user": "alice", "body": signed.body, "signature": signed.signature}


def login_vectors() -> Vectors:
    """Alice's login proof, held against what the broker knows of the connection."""
    right: dict[str, Any] = {
        "broker_key": BROKER_KEY,
        "client_key": bytes([1]) * 32,
        "client_nonce": bytes([2]) * 32,
        "broker_nonce": bytes([3]) * 32,
        "user": "alice",
    }
    signature = prove(ALICE.signing, LoginContext(**right))

    def vector(expect: str, about: str, **changes: Any) -> dict[str, Any]:
        return {"about": about, "expect": expect, "ik": ALICE.signing.public.spki, "signature": signature, **right, **changes}

    payload = LoginContext(**right).payload(ALICE.signing.public.kid)
    return {
        "ok": vector("ok", "an honest one"),
        "other-broker": vector("refused", "relayed to another broker", broker_key=bytes(32)),
        "other-connection": vector("refused", "moved to another connection", client_key=bytes(32)),
        "other-client-nonce": vector("refused", "from another login", client_nonce=bytes(32)),
        "other-broker-nonce": vector("refused", "from another moment", broker_nonce=bytes(32)),
        "other-name": vector("refused", "for another name", user="bob"),
        "other-key": vector("refused", "another key", ik=MALLORY.signing.public.spki),
        "for-bundle": vector("refused", "another purpose", signature=ALICE.signing.sign(Purpose.BUNDLE, payload)),
        "empty-signature": vector("refused", "no signature", signature=b""),
    }


def frames_vectors() -> Vectors:
    """Messages from a client and from a broker."""
    mid, copy_id, proof = bytes(range(16)), bytes(range(8)), bytes(range(32))
    bundle = sign_bundle("alice", Kind.GUEST, ALICE.signing, ALICE.opening.public, seq=1, now=NOW)
    entry = messages.Entry("alice", Kind.GUEST, ALICE.signing.public.kid)
    ik = ALICE.signing.public.spki
    hello = messages.Hello((1,), messages.Mode.FULL, "alice", Kind.GUEST, ik, bundle, None, bytes(32))
    lasting = sign_bundle("alice", Kind.PROFILE, ALICE.signing, ALICE.opening.public, seq=7, now=NOW)
    profile = messages.Hello((1,), messages.Mode.SEND, "alice", Kind.PROFILE, ik, lasting, bytes(range(32, 64)), bytes(32))
    results = [
        messages.Result(mid, 0, messages.Status.DELIVERED, proof),
        messages.Result(mid, 1, messages.Status.REFUSED),
        messages.Result(mid, 2, messages.Status.ABSENT),
    ]
    client: dict[str, frames.Frames] = {
        "hello": frames.control(hello),
        "hello-of-a-profile": frames.control(profile),
        "renew": frames.control(messages.Renew(lasting)),
        "prove": frames.control(messages.Prove(bytes(256))),
        "users": frames.control(messages.Users()),
        "lookup": frames.control(messages.Lookup(("alice", "bob"))),
        "ping": frames.control(messages.Ping()),
        "pong": frames.control(messages.Pong()),
        "bye": frames.control(messages.Bye()),
        "ack": frames.ack([(copy_id, proof), (bytes(8), frames.NO_PROOF)]),
        "send": frames.send(mid, "bob", b"common"),
        "fanout": frames.fanout(mid, ("bob", "carol"), b"common", (b"one", b"two")),
    }
    broker: dict[str, frames.Frames] = {
        "challenge": frames.control(messages.Challenge(bytes(32))),
        "welcome": frames.control(messages.Welcome(1, "c0ffee", 0)),
        "roster": frames.control(messages.Roster(True, False, (entry,), ("bob",))),
        "bundles": frames.control(messages.Bundles((messages.Found("alice", bundle), messages.Found("bob", None)))),
        "ping": frames.control(messages.Ping()),
        "pong": frames.control(messages.Pong()),
        "bye": frames.control(messages.Bye()),
        "error": frames.control(messages.Error(messages.Reason.NAME_TAKEN)),
        "error-not-invited": frames.control(messages.Error(messages.Reason.NOT_INVITED)),
        "error-about-a-message": frames.control(messages.Error(messages.Reason.BUSY, mid)),
        "results": frames.results(results),
        "deliver": frames.deliver(copy_id, mid, "alice", b"common", None),
        "deliver-with-wrap": frames.deliver(copy_id, mid, "alice", b"common", b"wrap"),
    }
    vectors: Vectors = {}
    for side, good in (("client", client), ("broker", broker)):
        read = frames.read_from_client if side == "client" else frames.read_from_broker
        for name, raw in good.items():
            message = read(raw)
            value = {"verb": type(message).__name__, **msgspec.to_builtins(message, builtin_types=(bytes,))}
            vectors[f"{side}-ok-{name}"] = {"expect": "ok", "from": side, "frames": raw, "reads": value}
    for name, (side, raw) in _bad_frames(client, broker, mid).items():
        vectors[f"{side}-{name}"] = {"expect": "refused", "from": side, "frames": raw}
    return vectors


def _bad_frames(
    client: dict[str, frames.Frames], broker: dict[str, frames.Frames], mid: bytes
) -> dict[str, tuple[str, frames.Frames]]:
    pack = msgspec.msgpack.encode
    hello = msgspec.msgpack.decode(client["hello"][0][1:])
    bad: dict[str, tuple[str, frames.Frames]] = {
        "no-frames": ("client", []),
        "empty-frame": ("client", [b""]),
        "empty-head": ("client", [b"", b"common"]),
        "unknown-verb": ("client", [b"Z"]),
        "pickle": ("client", [b"\x80\x04cposix\nsystem\n\x8c\x04true\x85R."]),
        "ping-with-a-byte-more": ("client", [b"I\x80\0"]),
        "ping-with-a-field": ("client", [b"I" + pack({"x": 1})]),
        "ping-as-a-list": ("client", [b"I" + pack([])]),
        "hello-short-curve-key": ("client", [b"H" + pack({**hello, "curve": bytes(31)})]),
        "hello-without-curve": ("client", [b"H" + pack({key: hello[key] for key in hello if key != "curve"})]),
        "renew-with-nothing": ("client", [b"K" + pack({"bundle": None})]),
        "renew-with-a-large-bundle": ("client", [b"K" + pack({"bundle": {"body": bytes(2049), "signature": bytes(256)}})]),
        "prove-short": ("client", [b"P" + pack({"signature": bytes(255)})]),
        "lookup-of-nobody": ("client", [b"L" + pack({"users": []})]),
        "lookup-of-65": ("client", [b"L" + pack({"users": [f"u{i}" for i in range(65)]})]),
        "lookup-of-no-name": ("client", [b"L" + pack({"users": ["Bob!"]})]),
        "says-what-brokers-say": ("client", broker["challenge"]),
        "ack-cut-short": ("client", [client["ack"][0][:-1]]),
        "ack-of-nothing": ("client", [b"A"]),
        "ack-of-513": ("client", [b"A" + bytes(40 * 513)]),
        "send-to-everyone": ("client", [b"S" + mid + b"everyone", b"common"]),
        "send-to-nobody": ("client", [b"S" + mid, b"common"]),
        "send-beyond-ascii": ("client", [b"S" + mid + "bøb".encode(), b"common"]),
        "send-in-3-frames": ("client", [*client["send"], b"more"]),
        "fanout-wrap-missing": ("client", client["fanout"][:-1]),
        "fanout-wrap-too-many": ("client", [*client["fanout"], b"three"]),
        "fanout-name-twice": ("client", [b"F" + mid, b"common", b"bob,bob", b"one", b"two"]),
        "fanout-empty-name": ("client", [b"F" + mid, b"common", b"bob,", b"one", b"two"]),
        "fanout-to-nobody": ("client", [b"F" + mid, b"common", b""]),
        "fanout-of-257": ("client", [b"F" + mid, b"c", b",".join(b"u%d" % i for i in range(257)), *[b"w"] * 257]),
        "fanout-long-head": ("client", [b"F" + mid + b"x", b"common", b"bob", b"one"]),
        "frame-over-the-limit": ("client", [b"S" + mid + b"bob", bytes(128 * 1024 + 1)]),
        "control-over-the-limit": ("client", [b"I" + bytes(32 * 1024)]),
        "says-what-clients-say": ("broker", client["users"]),
        "ack-from-a-broker": ("broker", client["ack"]),
        "results-cut-short": ("broker", [broker["results"][0][:-1]]),
        "results-of-nothing": ("broker", [b"R"]),
        "results-unknown-status": ("broker", [b"R" + mid + b"\0\0\x63"]),
        "results-proof-missing": ("broker", [b"R" + mid + b"\0\0\x02" + bytes(31)]),
        "results-retired-status": ("broker", [b"R" + mid + b"\0\0\x03"]),
        "renew-from-a-broker": ("broker", client["renew"]),
        "deliver-without-sender": ("broker", [broker["deliver"][0][:25], b"common"]),
        "deliver-in-4-frames": ("broker", [*broker["deliver-with-wrap"], b"more"]),
        "deliver-from-everyone": ("broker", [broker["deliver"][0][:25] + b"everyone", b"common"]),
        "error-unknown-reason": ("broker", [b"E" + pack({"reason": "because"})]),
        "roster-of-1025": (
            "broker",
            [b"O" + pack({"full": True, "more": False, "joined": [], "left": [f"u{i}" for i in range(1025)]})],
        ),
        "roster-short-kid": (
            "broker",
            [b"O" + pack({"full": True, "more": False, "joined": [["bob", "guest", bytes(31)]], "left": []})],
        ),
        "deep-nesting": ("broker", [b"O" + b"\x91" * 5000]),
    }
    return bad
