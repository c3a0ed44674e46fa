"""A seeded source of hostile input: mutations of real messages, and noise. Every piece has a label that says what it is."""

from __future__ import annotations

import os
import pickle
import random
import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from core.encoding import b64url, pack, unpack
from core.frames import Frames

Labelled = tuple[str, Frames]


class Boom:
    """Unpickling this runs code, which leaves a mark."""

    ran = False

    def __reduce__(self) -> tuple[Any, ...]:
        return setattr, (Boom, "ran", True)


def flipped(rng: random.Random, data: bytes, first: int = 0) -> bytes:
    """One bit turned over, not before byte ``first``."""
    at = rng.randrange(first, len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def noise(rng: random.Random, most: int = 300) -> bytes:
    """Any bytes."""
    return rng.randbytes(rng.randrange(most))


def pickled(rng: random.Random) -> bytes:
    """A pickle, by any of its protocols."""
    return pickle.dumps(Boom(), rng.randrange(pickle.HIGHEST_PROTOCOL + 1))


def cut(rng: random.Random, data: bytes) -> bytes:
    """A piece taken out, put in twice, or lost at the end."""
    first = rng.randrange(len(data))
    last = rng.randrange(first, min(len(data), first + 64)) + 1
    return rng.choice([data[:first] + data[last:], data[:last] + data[first:], data[:first], data + noise(rng, 20) + b"x"])


def packed_value(rng: random.Random, depth: int = 3) -> Any:
    """Any value that msgpack can carry."""
    simple: list[Callable[[], Any]] = [
        lambda: None,
        lambda: rng.random() < 0.5,
        lambda: rng.randrange(-(2**63), 2**64),
        lambda: rng.uniform(-1e300, 1e300),
        lambda: noise(rng, 50),
        lambda: rng.choice(["bob", "alice", "everyone", "", "full", "guest", "x" * 40]),
    ]
    if depth and rng.random() < 0.4:
        if rng.random() < 0.5:
            return [packed_value(rng, depth - 1) for _ in range(rng.randrange(4))]
        keys = ["user", "joined", "left", "full", "more", "found", "bundle", "nonce", "reason", "mid", "version", "users"]
        return {rng.choice(keys): packed_value(rng, depth - 1) for _ in range(rng.randrange(4))}
    return rng.choice(simple)()


def controls(rng: random.Random, verbs: bytes) -> Labelled:
    """A verb with a body that it may or may not have."""
    verb = bytes([rng.choice(verbs)])
    bodies: list[Callable[[], bytes]] = [
        lambda: msgspec.msgpack.encode(packed_value(rng)),
        lambda: noise(rng),
        lambda: pickled(rng),
        lambda: b"\x91" * 3000,
    ]
    body = rng.choice(bodies)()
    if rng.random() < 0.2:
        return "control in several frames", [verb + body, noise(rng)]
    return "control", [verb + body]


def nonsense(rng: random.Random) -> Labelled:
    """What is no message at all."""
    kind = rng.randrange(5)
    if kind == 0:
        return "noise", [noise(rng) for _ in range(rng.randrange(6))]
    if kind == 1:
        return "pickle", [pickled(rng) for _ in range(rng.randrange(1, 4))]
    if kind == 2:
        return "pickle behind a verb", [bytes([rng.randrange(256)]) + pickled(rng), *([pickled(rng)] * rng.randrange(3))]
    if kind == 3:
        return "empty frames", [b""] * rng.randrange(5)
    return "too large", [rng.choice([b"D", b"S", b"F", b"I"]) + bytes(24) + b"bob", bytes(128 * 1024 + 1)]


class Forger:
    """Makes forgeries of mail out of genuine pieces: DELIVERs (``own``) and those for somebody else (``others``)."""

    def __init__(self, rng: random.Random, own: Sequence[Frames], others: Sequence[Frames]) -> None:
        self.rng = rng
        self.own = own
        self.others = others

    def forgery(self) -> Labelled:
        """One that no honest client has sent to this recipient."""
        makers = [self._part, self._header, self._splice, self._blocks, self._head, self._frames, self._lengths, self._other]
        while True:
            label, raw = self.rng.choice(makers)()
            if all(raw[1:] != one[1:] or raw[0][9:] != one[0][9:] or raw[0][:1] != b"D" for one in self.own if raw):
                return label, raw

    def _take(self) -> tuple[bytes, list[bytes], list[bytes]]:
        head, common, *wrap = self.rng.choice(self.own)
        return head, unpack(common, 7), wrap

    def _part(self) -> Labelled:
        head, parts, wrap = self._take()
        names = ("header", "digests", "iv", "body", "signature", "key", "wrap inside")
        at = self.rng.choice([at for at, part in enumerate(parts) if part])
        if wrap and self.rng.random() < 0.2:
            return "flipped bit in wrap beside", [head, pack(parts), flipped(self.rng, wrap[0])]
        if self.rng.random() < 0.5:
            parts[at] = flipped(self.rng, parts[at])
            return f"flipped bit in {names[at]}", [head, pack(parts), *wrap]
        edits: list[Callable[[], bytes]] = [
            lambda: cut(self.rng, parts[at]),
            lambda: noise(self.rng),
            lambda: pickled(self.rng),
            lambda: b"",
        ]
        parts[at] = self.rng.choice(edits)()
        return f"replaced {names[at]}", [head, pack(parts), *wrap]

    def _header(self) -> Labelled:
        head, parts, wrap = self._take()
        rng, header = self.rng, parts[0].decode()
        fields = msgspec.json.decode(parts[0])
        key = rng.choice(list(fields))
        values: list[Any] = [
            rng.randrange(-(2**70), 2**70),
            b64url(os.urandom(rng.choice([0, 15, 16, 32, 33]))),
            "everyone",
            "mallory",
            None,
            [],
            [["alice", b64url(os.urandom(32)), 1]],
            1.5,
            [[]] * 300,
            {"alg": "none"},
        ]
        kind = rng.randrange(5)
        if kind == 0:
            fields[key] = rng.choice(values)
            header = msgspec.json.encode(fields).decode()
        elif kind == 1:
            header = header.replace(",", rng.choice([", ", ",,", ",\n"]), 1)
        elif kind == 2:
            header = header.replace("{", f'{{"{key}":1,', 1)
        elif kind == 3:
            header = re.sub(r",([0-9]+)\]", lambda found: f",{int(found[1]) + 1}]", header, count=1)
        else:
            del fields[key]
            header = msgspec.json.encode(fields).decode()
        parts[0] = header.encode()
        return f"header edited in way {kind}", [head, pack(parts), *wrap]

    def _splice(self) -> Labelled:
        head, parts, wrap = self._take()
        _, common, *other_wrap = self.rng.choice([*self.own, *self.others])
        theirs = unpack(common, 7)
        different = [at for at in range(7) if theirs[at] != parts[at]]
        if not different:
            return self._part()
        at = self.rng.choice(different)
        parts[at] = theirs[at]
        if at == 6 and bool(parts[6]) == bool(wrap):
            wrap = other_wrap
        return f"part {at} of another message", [head, pack(parts), *wrap]

    def _blocks(self) -> Labelled:
        """A recipient's blocks swapped, dropped, repeated, cut short, or from another message."""
        rng = self.rng
        head, parts, wrap = self._take()
        data = wrap[0] if wrap else parts[6]
        blocks = [data[at : at + 256] for at in range(0, len(data), 256)]
        kind = rng.randrange(5)
        if kind == 0 and len(blocks) > 1:
            first, second = rng.sample(range(len(blocks)), 2)
            blocks[first], blocks[second] = blocks[second], blocks[first]
        elif kind == 1:
            del blocks[rng.randrange(len(blocks))]
        elif kind == 2:
            blocks.insert(rng.randrange(len(blocks) + 1), rng.choice(blocks))
        elif kind == 3:
            at = rng.randrange(len(blocks))
            blocks[at] = blocks[at][: rng.randrange(256)]
        else:
            blocks[rng.randrange(len(blocks))] = os.urandom(256)
        data = b"".join(blocks)
        if wrap:
            return f"blocks in disorder {kind}", [head, pack(parts), data]
        return f"blocks in disorder {kind}", [head, pack([*parts[:6], data])]

    def _head(self) -> Labelled:
        """The broker lies about the route: another mid, another sender, or no DELIVER at all."""
        rng = self.rng
        head, *rest = rng.choice(self.own)
        kind = rng.randrange(4)
        if kind == 0:
            return "another mid", [head[:9] + os.urandom(16) + head[25:], *rest]
        if kind == 1:
            return "another sender", [
                head[:25] + rng.choice([b"carol", b"mallory", b"alice", b"everyone", b"", b"\xff"]),
                *rest,
            ]
        if kind == 2:
            verb = rng.choice([at for at in range(256) if at != ord("D")])
            return "another verb", [bytes([verb]) + head[1:], *rest]
        return "head cut", [head[: rng.randrange(25)], *rest]

    def _frames(self) -> Labelled:
        """Frames lost, repeated, or in another order."""
        rng = self.rng
        raw = list(rng.choice(self.own))
        kind = rng.randrange(4)
        if kind == 0:
            del raw[rng.randrange(len(raw))]
            return "a frame lost", raw
        if kind == 1:
            raw.insert(rng.randrange(len(raw) + 1), rng.choice(raw))
            return "a frame repeated", raw
        if kind == 2:
            return "frames reversed", raw[::-1]
        return "a frame more", [*raw, *[noise(rng)] * rng.randrange(1, 5)]

    def _lengths(self) -> Labelled:
        head, common, *wrap = self.rng.choice(self.own)
        at = self.rng.choice([0, 4, len(common) - 1, self.rng.randrange(len(common))])
        lie = self.rng.choice([b"\xff" * 4, bytes(4), b"\x00\x00\x00\x01", self.rng.randbytes(4)])
        common = self.rng.choice([common[:at] + lie + common[at + 4 :], cut(self.rng, common)])
        return "lengths that lie", [head, common, *wrap]

    def _other(self) -> Labelled:
        """Somebody else's message, unaltered, or with this recipient's wrap."""
        head, common, *wrap = self.rng.choice(self.others)
        if self.rng.random() < 0.5:
            return "re-targeted", [head, common, *wrap]
        _, parts, own_wrap = self._take()
        data = own_wrap[0] if own_wrap else parts[6]
        theirs = unpack(common, 7)
        if theirs[6]:
            return "re-targeted with an own wrap", [head, pack([*theirs[:6], data])]
        return "re-targeted with an own wrap", [head, common, data]
