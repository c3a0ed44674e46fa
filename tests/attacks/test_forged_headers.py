"""Headers that a thief of the sender's signing key could sign, one for each rule of their form."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from core.bundle import Suite
from core.encoding import b64url
from core.envelope import everyone_cid
from core.limits import HEADER_MAX
from tests.attacks.lies import SUITES, Reader, draft, fields, swap
from tests.forge import Draft
from tests.keys import BROKER_KEY, keys_of

BOB, CAROL = keys_of("bob"), keys_of("carol")

HEADERS: dict[str, Callable[[bytes], bytes]] = {
    "white space": swap(b',"ik":', b', "ik":'),
    "a line after it": lambda header: header + b"\n",
    "members in another order": lambda header: msgspec.json.encode(dict(reversed(msgspec.json.decode(header).items()))),
    "a member twice": swap(b'"typ":"sc1"', b'"typ":"sc1","typ":"sc1"'),
    "a member more": swap(b'"typ":"sc1"', b'"typ":"sc1","zip":"DEF"'),
    "a member less": lambda header: header.replace(b'"typ":"sc1",', b""),
    "an escape": swap(b'"from":"alice"', b'"from":"\\u0061lice"'),
    "a number with a point": swap(b'"ts":1800000000000', b'"ts":1800000000000.0'),
    "a number as text": swap(b'"ts":1800000000000', b'"ts":"1800000000000"'),
    "a time before 1970": fields(ts=-1),
    "a name that is none": fields(**{"from": "Alice"}),
    "a name that is reserved": fields(**{"from": "everyone"}),
    "a name that only looks the same": swap(b'"from":"alice"', '"from":"\u0430lice"'.encode()),
    "a kind of its own": fields(kind="admin"),
    "a mid of 15 bytes": fields(mid=b64url(bytes(15))),
    "a mid with padding": swap(b'"mid":"', b'"mid":"='),
    "a mid with stray bits": fields(mid="A" * 21 + "B"),
    "a sid of 17 bytes": fields(sid=b64url(bytes(17))),
    "a commitment of 31 bytes": fields(kc=b64url(bytes(31))),
    "a key id of 31 bytes": fields(ik=b64url(bytes(31))),
    "a conversation of 33 bytes": fields(cid=b64url(bytes(33))),
    "nobody": fields(to=[]),
    "an entry with two members": fields(to=[["bob", b64url(bytes(32))]]),
    "an entry whose key id is short": fields(to=[["bob", b64url(bytes(31)), 1]]),
    "a recipient who cannot be": fields(to=[["..", b64url(bytes(32)), 1]]),
    "number 0": fields(to=[["bob", b64url(BOB.opening.public.kid), 0]]),
    "number 2^53": fields(to=[["bob", b64url(BOB.opening.public.kid), 2**53]]),
    "number -1": fields(to=[["bob", b64url(BOB.opening.public.kid), -1]]),
    "a list": lambda header: b"[" + header + b"]",
    "nested without end": lambda _: b"[" * 20_000,
    "no text": lambda header: header + b"\xff",
    "nothing": lambda _: b"",
}  # fmt: skip


@SUITES
@pytest.mark.parametrize("lie", HEADERS)
def test_the_header_says_the_same_another_way(suite: Suite, lie: str) -> None:
    assert Reader().refuses(draft(suite, header=HEADERS[lie]).make().delivery()) == ("parse", 0)


@SUITES
def test_the_recipients_stand_in_another_order_or_twice(suite: Suite) -> None:
    both = [("bob", BOB.opening.public, 1), ("carol", CAROL.opening.public, 1)]
    honest = draft(suite, to=both, cid=everyone_cid(BROKER_KEY))
    assert Reader().open(honest.make().delivery()).to == ("bob", "carol")
    entries = [[user, b64url(key.kid), n] for user, key, n in both]
    for order in (entries[::-1], [entries[0], entries[0]]):
        assert Reader().refuses(honest.but(header=fields(to=order)).make().delivery()) == ("parse", 0)


@SUITES
def test_257_recipients_are_no_crowd(suite: Suite) -> None:
    def crowd(size: int) -> Draft:
        others = [(f"a{at:03}", BOB.opening.public, 1) for at in range(size - 1)]
        # The others' wraps are of no interest to the reader; sealing them would take a while.
        return draft(suite, to=[("bob", BOB.opening.public, 1)], cid=everyone_cid(BROKER_KEY)).but(
            header=fields(to=[[user, b64url(key.kid), n] for user, key, n in [*others, ("bob", BOB.opening.public, 1)]])
        )

    for size, stage in ((256, "recipient"), (257, "parse")):
        forged = crowd(size).make()
        digests = bytes(32 * size)  # none of them is the wrap's: the last check that looks at it says so
        delivery = forged.tampered("digests", lambda _, digests=digests: digests).delivery()  # type: ignore[misc]
        assert Reader().refuses(delivery) == (stage, 0)


@SUITES
def test_nobody_reads_it(suite: Suite) -> None:
    """No recipient and, in keeping with that, no digest."""
    nobody = draft(suite, header=fields(to=[])).make().tampered("digests", lambda _: b"")
    assert Reader().refuses(nobody.delivery()) == ("parse", 0)


@SUITES
def test_a_header_of_33_kib_is_a_header(suite: Suite) -> None:
    """In a member that no other rule of the form bounds."""
    forged = draft(suite, header=fields(alg="x" * (HEADER_MAX + 1024))).make()
    assert Reader().refuses(forged.delivery()) == ("parse", 0)
    short = draft(suite, header=fields(alg="x" * 1024)).make()
    assert Reader().refuses(short.delivery()) == ("allow-list", 0)
