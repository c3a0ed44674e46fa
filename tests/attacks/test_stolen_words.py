"""Somebody's genuine words in another mouth, for another reader, or in another order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from core import frames
from core.bundle import Suite
from core.content import Text, encode_content, pad
from core.encoding import b64url, pack, unpack
from core.envelope import direct_cid, everyone_cid, key_commitment, signed_bytes
from core.errors import FrameError
from core.events import Outcome
from core.frames import Frames
from core.opening import Delivery
from tests.attacks.lies import SUITES, Reader, Town, delivery_of, draft, fields, record, stages
from tests.forge import KIND_OF, Forged
from tests.keys import BROKER_KEY, Keys, keys_of

ALICE, BOB, CAROL, MALLORY = (keys_of(name) for name in ("alice", "bob", "carol", "mallory"))


# Surreptitious forwarding: alice writes to mallory, who would have bob believe that she wrote it to him.


@SUITES
def test_alice_wrote_to_bob_what_she_wrote_to_mallory(suite: Suite) -> None:
    """Mallory opens it and wraps the key anew for bob, under alice's signature."""
    genuine = draft(suite, reader="mallory").make()
    honest = draft(suite)  # the same secret: what mallory learnt by opening hers
    wrap = honest.make().wraps[0]
    header, digests, *rest = genuine.parts
    for parts in (
        [header, digests, *rest],
        [header, hashlib.sha256(wrap).digest(), *rest],
        [header.replace(b'"mallory"', b'"bob"'), hashlib.sha256(wrap).digest(), *rest],
        [honest.make().parts[0], hashlib.sha256(wrap).digest(), *rest],
    ):
        reader = Reader()
        stage, operations = reader.refuses(Forged("alice", genuine.mid, parts, [wrap]).delivery())
        assert stage in ("recipient", "signature")
        assert operations == 0


@SUITES
def test_mallory_wrote_what_alice_wrote_to_mallory_in_her_conversation(suite: Suite) -> None:
    """Mallory strips the signature and signs as himself: it is his message then, in his conversation, or none."""
    genuine = draft(suite, reader="mallory").make()
    forged = draft(suite, sender="mallory", cid=direct_cid(ALICE.signing.public.kid, BOB.signing.public.kid))
    assert Reader().refuses(forged.make().delivery()) == ("recipient", 0)
    signed = MALLORY.signing.sign(KIND_OF[suite].purpose, signed_bytes(KIND_OF[suite], *genuine.parts[:4]))
    stripped = genuine.tampered("signature", lambda _: signed)
    assert Reader("mallory").refuses(stripped.delivery()) == ("signature", 0)
    with_key = stripped.tampered("spki", lambda _: MALLORY.signing.public.spki)
    assert Reader("mallory").refuses(with_key.delivery()) == ("sender", 0)


@SUITES
def test_mallory_wrote_what_he_cannot_read(suite: Suite) -> None:
    """Alice's ciphertext to bob under a header and a signature of mallory's: the text is bound to the header it came with."""
    genuine = draft(suite).make()
    own = draft(suite, sender="mallory").make()
    digests = hashlib.sha256(genuine.wraps[0]).digest()
    parts = [own.parts[0], digests, *genuine.parts[2:4]]
    signature = MALLORY.signing.sign(KIND_OF[suite].purpose, signed_bytes(KIND_OF[suite], *parts))
    forged = Forged("mallory", own.mid, [*parts, signature, MALLORY.signing.public.spki], genuine.wraps)
    assert Reader().refuses(forged.delivery()) == ({Suite.HYBRID: "aead", Suite.CHUNKED: "decrypt"}[suite], 1)


@SUITES
def test_a_message_to_everyone_was_meant_for_one(suite: Suite) -> None:
    """The broker turns a fan-out into a direct message, or gives one recipient another's wrap."""
    town = Town()
    alice, bob, carol = (town.join(name) for name in ("alice", "bob", "carol"))
    bobs, carols = record(bob), record(carol)
    town.say(alice, "to all", "bob", "carol", everyone=True, suite=suite)
    (b,), (c,) = bobs, carols
    parts = unpack(b[1], 7)
    town.pass_time(1)
    for raw in ([b[0], pack([*parts[:6], b[2]])], [b[0], b[1], c[2]], [c[0], c[1], c[2]]):
        before = bob.keys.opening.operations
        town.hand(bob, raw)
        assert bob.keys.opening.operations == before
    assert bob.texts() == [("alice", "to all")]
    # The same wrap inside is the same signed message, so a replay; another's wrap is not this recipient's.
    assert stages(bob) == ["recipient", "recipient"]
    assert bob.messages[0].message.everyone


@SUITES
def test_a_message_through_one_broker_came_through_another(suite: Suite) -> None:
    elsewhere = draft(suite, cid=everyone_cid(hashlib.sha256(b"another broker").digest())).make()
    assert Reader().refuses(elsewhere.delivery()) == ("recipient", 0)


# Two recipients, two texts


def _collision(one: tuple[bytes, bytes], other: tuple[bytes, bytes], iv: bytes, aad: bytes) -> bytes:
    """A ciphertext with tag that AES-GCM opens under two keys (invisible salamanders).

    For each key the tag is ``S(key) + sum of block_i * H(key)^(m - i)`` in GF(2^128), linear in the blocks; so one free block
    makes the two tags equal. ``one`` and ``other`` are (key, the first half of its text); the texts' halves must lie in
    different places of the ciphertext, and the last block is free in both.
    """
    (key1, text), (key2, decoy) = one, other
    keep = len(text)
    stream1 = AESGCM(key1).encrypt(iv, bytes(keep + len(decoy) + 16), aad)[:-16]
    stream2 = AESGCM(key2).encrypt(iv, bytes(keep + len(decoy) + 16), aad)[:-16]
    first = bytes(a ^ b for a, b in zip(text, stream1, strict=False))
    second = bytes(a ^ b for a, b in zip(decoy, stream2[keep:], strict=False))
    body = first + second

    def tag(key: bytes, stream: bytes, last: bytes) -> int:
        whole = body + last
        plain = bytes(a ^ b for a, b in zip(whole, stream, strict=True))
        return int.from_bytes(AESGCM(key).encrypt(iv, plain, aad)[-16:], "big")

    # The tags' difference is affine over GF(2) in the 128 bits of the free block: solve for the block that makes it zero.
    base = tag(key1, stream1, bytes(16)) ^ tag(key2, stream2, bytes(16))
    rows: list[tuple[int, int]] = []  # (value, which bits of the block give it), in echelon form
    for bit in range(128):
        last = (1 << bit).to_bytes(16, "big")
        value, combination = tag(key1, stream1, last) ^ tag(key2, stream2, last) ^ base, 1 << bit
        for pivot, how in rows:
            if value ^ pivot < value:
                value, combination = value ^ pivot, combination ^ how
        if value:
            rows.append((value, combination))
            rows.sort(reverse=True)
    solution = 0
    for pivot, how in rows:
        if base ^ pivot < base:
            base, solution = base ^ pivot, solution ^ how
    if base:
        raise ValueError("no such block; take another nonce")
    last = solution.to_bytes(16, "big")
    return body + last + tag(key1, stream1, last).to_bytes(16, "big")


def test_the_same_message_says_one_thing_to_bob_and_another_to_carol() -> None:
    """An AES-GCM ciphertext that opens under two keys, one for each of two recipients: the header commits to one of them."""
    keys = (bytes(range(64, 96)), bytes(range(96, 128)))
    to = [("bob", BOB.opening.public, 1), ("carol", CAROL.opening.public, 1)]
    plan = draft(Suite.HYBRID, to=to, cid=everyone_cid(BROKER_KEY), secret=keys[0])
    header = plan.make().parts[0]
    aad = b64url(header).encode()
    iv = bytes(range(100, 112))
    body = _collision((keys[0], b"a" * 128), (keys[1], b"b" * 112), iv, aad)
    assert AESGCM(keys[0]).decrypt(iv, body, aad)[:128] == b"a" * 128
    assert AESGCM(keys[1]).decrypt(iv, body, aad)[128:240] == b"b" * 112  # so it is a ciphertext of two texts
    with pytest.raises(InvalidTag):
        AESGCM(bytes(32)).decrypt(iv, body, aad)

    forged = plan.but(iv=iv, body=lambda _: body).make()
    wraps = [BOB.opening.public.seal(keys[0]), CAROL.opening.public.seal(keys[1])]
    digests = b"".join(hashlib.sha256(wrap).digest() for wrap in wraps)
    signed = signed_bytes(KIND_OF[Suite.HYBRID], header, digests, iv, body)
    signature = ALICE.signing.sign(KIND_OF[Suite.HYBRID].purpose, signed)
    two_faced = Forged("alice", forged.mid, [header, digests, iv, body, signature, forged.parts[5]], wraps)
    assert Reader("bob").refuses(two_faced.delivery(0)) == ("unpad", 1)  # committed to, and no padding: noise to him
    assert Reader("carol").refuses(two_faced.delivery(1)) == ("commitment", 1)


def test_the_same_blocks_say_one_thing_to_bob_and_another_to_carol() -> None:
    """Chunked: each recipient's blocks hold another text; the commitment is to one."""
    to = [("bob", BOB.opening.public, 1), ("carol", CAROL.opening.public, 1)]
    plan = draft(Suite.CHUNKED, to=to, cid=everyone_cid(BROKER_KEY))
    yes, no = (pad(encode_content(Text(text))) for text in ("yes", "no"))
    commitment = key_commitment(KIND_OF[Suite.CHUNKED], plan.secret, yes)
    one, other = (plan.but(padded=padded, commitment=commitment).make() for padded in (yes, no))
    assert one.parts[0] == other.parts[0]
    wraps = [one.wraps[0], other.wraps[1]]
    digests = b"".join(hashlib.sha256(wrap).digest() for wrap in wraps)
    signature = ALICE.signing.sign(
        KIND_OF[Suite.CHUNKED].purpose, signed_bytes(KIND_OF[Suite.CHUNKED], one.parts[0], digests, b"", b"")
    )
    two_faced = Forged("alice", one.mid, [one.parts[0], digests, b"", b"", signature, one.parts[5]], wraps)
    assert Reader("bob").open(two_faced.delivery(0)).content == Text("yes")
    assert Reader("carol").refuses(two_faced.delivery(1))[0] == "commitment"


# Blocks, by a thief of alice's signing key who does not know what they hold


def _swapped(blocks: list[bytes]) -> list[bytes]:
    return [blocks[1], blocks[0], *blocks[2:]]


BLOCKS = {
    "swapped": _swapped,
    "one dropped": lambda blocks: blocks[:1] + blocks[2:],
    "the last dropped": lambda blocks: blocks[:-1],
    "one twice": lambda blocks: [blocks[0], *blocks],
    "one in another's place": lambda blocks: [blocks[0], blocks[0], *blocks[2:]],
}


@pytest.mark.parametrize("lie", BLOCKS)
def test_blocks_stand_in_another_order(lie: str) -> None:
    plain = encode_content(Text("x" * 600))
    assert Reader().open(draft(Suite.CHUNKED, plain=plain).make().delivery()).content == Text("x" * 600)
    forged = draft(Suite.CHUNKED, plain=plain, blocks=BLOCKS[lie])
    assert Reader().refuses(forged.make().delivery())[0] == "decrypt"


def test_a_block_of_another_message_belongs_here() -> None:
    """Spliced: the first block of an earlier message between the same two, signed anew with the stolen key."""
    other = draft(Suite.CHUNKED, mid=bytes(16), plain=encode_content(Text("y" * 600))).make().wraps[0]
    forged = draft(Suite.CHUNKED, plain=encode_content(Text("x" * 600)), wrap=lambda wrap: other[:256] + wrap[256:])
    assert Reader().refuses(forged.make().delivery()) == ("decrypt", 1)


def test_blocks_without_their_place_are_blocks() -> None:
    for labels in (lambda all_: [b""] * len(all_), lambda all_: all_[::-1]):
        assert Reader().refuses(draft(Suite.CHUNKED, labels=labels).make().delivery()) == ("decrypt", 1)


def test_a_block_may_be_short() -> None:
    """Blocks that were sealed for their places, but cut the text elsewhere: one text would have many forms."""
    from core.envelope import block_labels

    plan = draft(Suite.CHUNKED)
    honest = plan.make()
    data = plan.secret + pad(plan.plain)
    pieces = [data[:100], data[100:290]]
    labels = block_labels(honest.parts[0], 2)
    wrap = b"".join(BOB.opening.public.seal(piece, label) for piece, label in zip(pieces, labels, strict=True))
    assert Reader().refuses(plan.but(wrap=lambda _: wrap).make().delivery())[0] == "decrypt"


# A stolen encryption key reads, but does not write


@SUITES
def test_a_thief_of_bobs_encryption_key_writes_as_bob(suite: Suite) -> None:
    town = Town()
    alice, bob = town.join("alice"), town.join("bob")
    copies = record(bob)
    town.say(alice, "hello", "bob", suite=suite)
    stolen = delivery_of(copies[0])
    assert Reader("bob").open(stolen, town.now.ms).content == Text("hello")  # it reads what was sent to that key
    header = unpack(stolen.common, 7)[0]
    assert b64url(BOB.opening.public.kid).encode() in header
    forged = draft(suite, sender="bob", reader="alice", signer=MALLORY.signing).make()
    assert Reader("alice").refuses(forged.delivery()) == ("signature", 0)


def test_a_thief_of_alices_identity_key_reads_what_is_sent_to_alice() -> None:
    one = draft(Suite.HYBRID, sender="bob", reader="alice").make().delivery()
    thief = Reader("alice", keys=MALLORY)
    assert thief.refuses(one) == ("recipient", 0)
    thief.me.keys[b64url(ALICE.opening.public.kid)] = MALLORY.opening  # he calls his own encryption key hers
    assert thief.refuses(one)[0] == "recipient"  # for the conversation is between identity keys
    hers = Reader("alice", keys=Keys(ALICE.signing, MALLORY.opening))
    hers.me.keys[b64url(ALICE.opening.public.kid)] = MALLORY.opening
    assert hers.refuses(one) == ("decrypt", 1)


# The network and the broker


@SUITES
def test_a_copy_for_bob_is_a_copy_for_carol(suite: Suite) -> None:
    town = Town()
    alice, bob, carol = (town.join(name) for name in ("alice", "bob", "carol"))
    copies = record(bob)
    town.say(alice, "for bob", "bob", suite=suite)
    town.hand(carol, copies[0])
    assert (carol.texts(), stages(carol), carol.keys.opening.operations) == ([], ["recipient"], 0)


@SUITES
def test_the_broker_changes_a_word(suite: Suite) -> None:
    town = Town()
    alice, bob = town.join("alice"), town.join("bob")

    def edit(raw: Frames) -> Sequence[Frames]:
        if raw[0][:1] != b"D":
            return [raw]
        parts = unpack(raw[1], 7)
        at = 3 if suite is Suite.HYBRID else 6
        parts[at] = parts[at][:40] + bytes([parts[at][40] ^ 1]) + parts[at][41:]
        return [[raw[0], pack(parts)]]

    bob.to_client = edit
    id_ = town.say(alice, "hello", "bob", suite=suite)
    assert (bob.texts(), bob.keys.opening.operations) == ([], 0)
    assert stages(bob) == [{Suite.HYBRID: "signature", Suite.CHUNKED: "recipient"}[suite]]
    assert alice.last(id_) == {"bob": Outcome.REFUSED}


@SUITES
def test_the_broker_says_that_mallory_is_alice(suite: Suite) -> None:
    """A genuine message of mallory's, handed out as alice's."""
    town = Town()
    mallory, bob = town.join("mallory"), town.join("bob")
    copies = record(bob, deliver=False)
    town.say(mallory, "I am alice", "bob", suite=suite)
    one = delivery_of(copies[0])
    town.hand_delivery(bob, Delivery(one.mid, "alice", one.common, one.wrap))
    assert (bob.texts(), stages(bob), bob.keys.opening.operations) == ([], ["route"], 0)


@SUITES
def test_mallory_signs_as_alice_with_his_own_key(suite: Suite) -> None:
    """A hostile broker and a user with an account together: alice's name, mallory's key. Bob has met alice."""
    town = Town()
    alice, bob = town.join_profile("alice"), town.join_profile("bob")
    town.say(alice, "it is me", "bob")
    forged = draft(suite, sender="mallory").but(header=fields(**{"from": "alice"})).make()
    town.hand_delivery(bob, Delivery(forged.mid, "alice", forged.delivery().common, None))
    assert bob.texts() == [("alice", "it is me")]
    assert (stages(bob), bob.keys.opening.operations) == (["pin"], 1)


def test_a_head_names_nobody() -> None:
    raw = draft(Suite.HYBRID).make().delivery()
    for name in ("everyone", "Alice", "a" * 33, ""):
        with pytest.raises(FrameError):
            frames.read_from_broker(frames.deliver(bytes(8), raw.mid, name, raw.common, None))
