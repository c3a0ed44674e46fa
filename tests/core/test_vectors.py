"""The frozen vectors of tests/vectors, read as another implementation would read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core import frames
from core.bundle import SignedBundle, read_bundle
from core.content import Text, Unknown
from core.encoding import b64url, from_b64url
from core.errors import BadBundle, BadSignature, FrameError, InvalidEnvelope, NotPinned, Replayed
from core.login import LoginContext, check_proof
from core.opening import RECEIVE_ORDER, Delivery, Recipient, open_envelope
from core.rsa import VerifyKey
from tests.keys import VECTORS, keys_of

STAGES = [name for name, _ in RECEIVE_ORDER]
PROOF = bytes(range(32))


def _files(folder: str) -> list[Any]:
    return [pytest.param(path, id=path.stem) for path in sorted((VECTORS / folder).glob("*.json"))]


def _load(path: Path) -> dict[str, Any]:
    vector: dict[str, Any] = json.loads(path.read_text())
    assert vector["scenario"] == path.stem
    return vector


def _raw(vector: dict[str, Any], name: str) -> bytes:
    return from_b64url(vector[name])


def test_every_stage_has_vectors_in_both_suites() -> None:
    seen = {suite: set[str]() for suite in ("hybrid", "chunked")}
    for path in (VECTORS / "envelope").glob("*.json"):
        vector = _load(path)
        seen[vector["suite"]].add(vector["expect"])
    assert seen["hybrid"] == {*STAGES, "ok"}
    assert seen["chunked"] == {*STAGES, "ok"} - {"aead"}  # kind C has no AEAD: its blocks' labels and its commitment do that


@pytest.mark.parametrize("path", _files("envelope"))
def test_envelope(path: Path) -> None:
    vector = _load(path)
    keys = keys_of(vector["me"]["keys"])
    mid = _raw(vector, "mid")
    pinned = vector["pinned"] and _raw(vector, "pinned")
    me = Recipient(
        user=vector["me"]["user"],
        kid=keys.signing.public.kid,
        keys={b64url(keys.opening.public.kid): keys.opening},
        broker_key=from_b64url(vector["me"]["broker_key"]),
        may_receive=lambda user, kid: user != "alice" or pinned in (None, kid),
        seen=lambda _, asked: PROOF if vector["seen"] and asked == mid else None,
    )
    common = _raw(vector, "common") + bytes(vector.get("common_zeros_appended", 0))
    wrap = None if vector["wrap"] is None else _raw(vector, "wrap")
    delivery = Delivery(mid, vector["sender"], common, wrap)

    if vector["expect"] == "ok":
        opened = open_envelope(delivery, me, vector["now_ms"])
        assert opened.content == (Text(vector["text"]) if vector["text"] is not None else Unknown(vector["unknown_type"]))
        assert opened.proof == _raw(vector, "proof")
        assert (opened.mid, opened.sender, opened.suite) == (mid, "alice", vector["suite"])
        assert opened.kind == vector.get("kind", "guest")
        assert list(opened.to) == vector.get("to", ["bob"])
        assert opened.sender_key.kid == keys_of("alice").signing.public.kid
    else:
        with pytest.raises(InvalidEnvelope) as refused:
            open_envelope(delivery, me, vector["now_ms"])
        assert refused.value.stage == vector["expect"]
        assert isinstance(refused.value, Replayed) is (vector["expect"] == "replay")
        assert isinstance(refused.value, NotPinned) is (vector["expect"] == "pin")
        assert refused.value.__suppress_context__ or vector["expect"] in ("replay", "pin")
        if STAGES.index(vector["expect"]) < STAGES.index("decrypt"):
            assert keys.opening.operations == 0
    assert keys.opening.operations == vector["private_operations"]


@pytest.mark.parametrize("path", _files("bundle"))
def test_bundle(path: Path) -> None:
    vector = _load(path)
    signed = SignedBundle(_raw(vector, "body"), _raw(vector, "signature"))
    if vector["expect"] == "ok":
        bundle = read_bundle(signed, vector["user"])
        assert bundle.user == vector["user"]
        assert bundle.ek.spki == keys_of("alice").opening.public.spki
    else:
        with pytest.raises(BadBundle):
            read_bundle(signed, vector["user"])


@pytest.mark.parametrize("path", _files("login"))
def test_login(path: Path) -> None:
    vector = _load(path)
    names = ("broker_key", "client_key", "client_nonce", "broker_nonce")
    context = LoginContext(user=vector["user"], **{name: _raw(vector, name) for name in names})
    key, signature = VerifyKey(_raw(vector, "ik")), _raw(vector, "signature")
    if vector["expect"] == "ok":
        check_proof(key, context, signature)
    else:
        with pytest.raises(BadSignature):
            check_proof(key, context, signature)


@pytest.mark.parametrize("path", _files("frames"))
def test_frames(path: Path) -> None:
    vector = _load(path)
    raw = [from_b64url(one) for one in vector["frames"]]
    read = frames.read_from_client if vector["from"] == "client" else frames.read_from_broker
    if vector["expect"] == "ok":
        message = read(raw)
        expected = vector["reads"]
        assert type(message).__name__ == expected.pop("verb")
        assert json.loads(msgspec.json.encode(_as_text(message))) == expected
    else:
        with pytest.raises(FrameError):
            read(raw)


def _as_text(message: object) -> object:
    def text(value: object) -> object:
        if isinstance(value, bytes):
            return b64url(value)
        if isinstance(value, dict):
            return {key: text(one) for key, one in value.items()}
        return [text(one) for one in value] if isinstance(value, list | tuple) else value

    return text(msgspec.to_builtins(message, builtin_types=(bytes,)))
