"""Frames: the one door between bytes from the network and typed values.

A message of one frame is control: a verb byte and a body. A message of several frames carries mail: a head, ``common``, and
what goes with it. Every reader is strict and raises FrameError; none looks into an envelope. docs/PROTOCOL.md has the table.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from core.bundle import SignedBundle
from core.errors import FrameError
from core.limits import (
    ACKS_MAX,
    BLOB_ID_BYTES,
    BLOB_MAX,
    BUNDLE_MAX,
    CONTROL_MAX,
    COPY_ID_BYTES,
    FETCH_MAX,
    FRAME_MAX,
    HASH_BYTES,
    MID_BYTES,
    PIECE_MAX,
    RECIPIENTS_MAX,
    RESULTS_MAX,
    RSA_BYTES,
    WRAP_MAX,
)
from core.messages import (
    Ack,
    Bundles,
    Bye,
    CaughtUp,
    Challenge,
    Control,
    Deliver,
    Discard,
    Error,
    Extent,
    Fanout,
    Fetch,
    FromBroker,
    FromClient,
    Hello,
    Kept,
    Lookup,
    NoBlob,
    Noted,
    Offer,
    Piece,
    Ping,
    Pong,
    Prove,
    Renew,
    Result,
    Results,
    Roster,
    Send,
    Status,
    Users,
    Welcome,
)
from core.names import is_name

Frames = list[bytes]

_VERBS: Final[dict[bytes, type[Control]]] = {
    b"H": Hello,
    b"C": Challenge,
    b"P": Prove,
    b"W": Welcome,
    b"O": Roster,
    b"U": Users,
    b"L": Lookup,
    b"B": Bundles,
    b"K": Renew,
    b"V": CaughtUp,
    b"T": Kept,
    b"N": Noted,
    b"o": Offer,
    b"x": Extent,
    b"f": Fetch,
    b"d": Discard,
    b"n": NoBlob,
    b"I": Ping,
    b"J": Pong,
    b"Q": Bye,
    b"E": Error,
}
_BYTE_OF: Final = {kind: verb for verb, kind in _VERBS.items()}
_DECODERS: Final = {verb: msgspec.msgpack.Decoder(kind) for verb, kind in _VERBS.items()}
_FROM_CLIENT: Final = frozenset(b"HPULKNofdIJQ")


ACK_SIZE: Final = COPY_ID_BYTES + HASH_BYTES
NO_PROOF: Final = bytes(HASH_BYTES)
_RESULT_HEAD: Final = struct.Struct(">16sHB")
_SEND_HEAD: Final = 1 + MID_BYTES
_DELIVER_HEAD: Final = 1 + COPY_ID_BYTES + MID_BYTES
_PIECE_HEAD: Final = struct.Struct(f">c{BLOB_ID_BYTES}sQ")


def control(message: Control) -> Frames:
    """The frames of a control message."""
    return [_BYTE_OF[type(message)] + msgspec.msgpack.encode(message)]


PING: Final = control(Ping())[0]


def ack(copies: Sequence[tuple[bytes, bytes]]) -> Frames:
    """The frames of an ACK for (copy id, proof) pairs."""
    return [b"A" + b"".join([copy_id + proof for copy_id, proof in copies])]


def results(items: Sequence[Result]) -> Frames:
    """The frames of a batch of results."""
    return [b"R" + b"".join([result_item(i.mid, i.place, i.status, i.proof) for i in items])]


def result_item(mid: bytes, place: int, status: Status, proof: bytes | None = None) -> bytes:
    """One entry of a RESULT: mid, place as 2 bytes, status as 1, and the proof where the status is DELIVERED."""
    return _RESULT_HEAD.pack(mid, place, status) + (proof or b"")


def send(mid: bytes, to: str, common: bytes) -> Frames:
    """The frames of a message for one recipient."""
    return [b"S" + mid + to.encode("ascii"), common]


def fanout(mid: bytes, to: Sequence[str], common: bytes, wraps: Sequence[bytes]) -> Frames:
    """The frames of one upload for many recipients."""
    return [b"F" + mid, common, ",".join(to).encode("ascii"), *wraps]


def deliver(copy_id: bytes, mid: bytes, sender: str, common: bytes, wrap: bytes | None) -> Frames:
    """The frames of one copy on its way to a recipient."""
    head = b"D" + copy_id + mid + sender.encode("ascii")
    return [head, common] if wrap is None else [head, common, wrap]


def piece(blob: bytes, offset: int, data: bytes) -> Frames:
    """The frames of at most 64 KiB of a blob, from ``offset`` on."""
    return [_PIECE_HEAD.pack(b"p", blob, offset), data]


def read_from_client(frames: Sequence[bytes]) -> FromClient:
    """Read what a client may say to a broker; raises FrameError."""
    _check_counts(frames, 3 + RECIPIENTS_MAX)
    head, verb = frames[0], frames[0][:1]
    if len(frames) > 1:
        if verb == b"S" and len(frames) == 2:
            return Send(head[1:_SEND_HEAD], _name(head[_SEND_HEAD:]), frames[1])
        if verb == b"F":
            return _read_fanout(frames)
        if verb == b"p" and len(frames) == 2:
            return _read_piece(head, frames[1])
        raise FrameError(what="mail of an unknown kind or with a wrong number of frames")
    if verb == b"A":
        return Ack(tuple(ack_items(head)))
    if head[0] not in _FROM_CLIENT or len(head) > CONTROL_MAX:
        raise FrameError(what="a client does not say this")
    message = _read_control(head)
    if isinstance(message, Hello):
        _check_name(message.user)
        if message.bundle is not None:
            _check_bundle(message.bundle)
    elif isinstance(message, Renew):
        _check_bundle(message.bundle)
    elif isinstance(message, Lookup):
        for user in message.users:
            _check_name(user)
    elif isinstance(message, Fetch) and not 0 < message.upto - message.offset <= FETCH_MAX:
        raise FrameError(what="a part of a blob that is none")
    return message  # type: ignore[return-value]  # _FROM_CLIENT says which


def read_from_broker(frames: Sequence[bytes]) -> FromBroker:
    """Read what a broker may say to a client; raises FrameError."""
    _check_counts(frames, 3)
    head, verb = frames[0], frames[0][:1]
    if len(frames) > 1:
        if verb == b"p" and len(frames) == 2:
            return _read_piece(head, frames[1])
        if verb != b"D":
            raise FrameError(what="mail of an unknown kind")
        if len(head) <= _DELIVER_HEAD:
            raise FrameError(what="a head that is too short")
        copy_id, mid = head[1 : 1 + COPY_ID_BYTES], head[1 + COPY_ID_BYTES : _DELIVER_HEAD]
        return Deliver(copy_id, mid, _name(head[_DELIVER_HEAD:]), frames[1], frames[2] if len(frames) == 3 else None)
    if verb == b"R":
        return Results(tuple(_result_items(head)))
    if head[0] in b"HPULKNofd":
        raise FrameError(what="a broker does not say this")
    message = _read_control(head)
    if isinstance(message, Roster):
        for user in (*(entry.user for entry in message.joined), *message.left):
            _check_name(user)
    elif isinstance(message, Bundles):
        for found in message.found:
            _check_name(found.user)
            if found.bundle is not None:
                _check_bundle(found.bundle)
    elif isinstance(message, Kept):
        for told in message.told:
            _check_name(told.user)
    return message  # type: ignore[return-value]  # the verbs of clients were refused above


def ack_items(head: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The (copy id, proof) pairs of an ACK; raises FrameError unless they are whole and at most 512."""
    count, rest = divmod(len(head) - 1, ACK_SIZE)
    if rest or not 1 <= count <= ACKS_MAX:
        raise FrameError(what="acknowledgements of a wrong size")
    for at in range(1, len(head), ACK_SIZE):
        yield head[at : at + COPY_ID_BYTES], head[at + COPY_ID_BYTES : at + ACK_SIZE]


def _result_items(head: bytes) -> Iterator[Result]:
    at = 1
    for _ in range(RESULTS_MAX):
        if len(head) - at < _RESULT_HEAD.size:
            break
        mid, place, number = _RESULT_HEAD.unpack_from(head, at)
        at += _RESULT_HEAD.size
        try:
            status = Status(number)
        except ValueError:
            raise FrameError(what="a result of an unknown kind") from None
        proof = None
        if status is Status.DELIVERED:
            proof = head[at : at + HASH_BYTES]
            at += HASH_BYTES
        yield Result(mid, place, status, proof)
    if at != len(head) or at == 1:
        raise FrameError(what="results of a wrong size")


def _read_fanout(frames: Sequence[bytes]) -> Fanout:
    if len(frames) < 4 or len(frames[0]) != _SEND_HEAD:
        raise FrameError(what="a fan-out that is cut short")
    names = frames[2].split(b",", RECIPIENTS_MAX)
    wraps = tuple(frames[3:])
    if len(names) != len(wraps) or len(set(names)) != len(names) or max(map(len, wraps)) > WRAP_MAX:
        raise FrameError(what="a fan-out whose names and wraps do not match")
    return Fanout(frames[0][1:], tuple(map(_name, names)), frames[1], wraps)


def _read_piece(head: bytes, data: bytes) -> Piece:
    if len(head) != _PIECE_HEAD.size or not 1 <= len(data) <= PIECE_MAX:
        raise FrameError(what="a piece of a wrong size")
    _, blob, offset = _PIECE_HEAD.unpack(head)
    if offset > BLOB_MAX - len(data):
        raise FrameError(what="a piece beyond any blob's end")
    return Piece(blob, offset, data)


def _read_control(head: bytes) -> Control:
    decoder = _DECODERS.get(head[:1])
    if decoder is None:
        raise FrameError(what="an unknown verb")
    try:
        return decoder.decode(memoryview(head)[1:])
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise FrameError(what="a body that does not parse") from None


def _check_counts(frames: Sequence[bytes], most: int) -> None:
    if not 1 <= len(frames) <= most:
        raise FrameError(what="a wrong number of frames")
    if not frames[0]:
        raise FrameError(what="an empty head")
    if max(map(len, frames)) > FRAME_MAX:
        raise FrameError(what="a frame over the limit")


def _check_name(user: str) -> None:
    if not is_name(user):
        raise FrameError(what="a name that is none")


def _check_bundle(bundle: SignedBundle) -> None:
    if len(bundle.body) > BUNDLE_MAX or len(bundle.signature) != RSA_BYTES:
        raise FrameError(what="a bundle of a wrong size")


def _name(raw: bytes) -> str:
    try:
        user = raw.decode("ascii")
    except UnicodeDecodeError:
        raise FrameError(what="a name that is none") from None
    _check_name(user)
    return user
