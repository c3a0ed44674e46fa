"""Files through a real broker, with frames that are made by hand."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from broker.admin import release
from broker.directory import Connection
from core import frames
from core.limits import BLOB_WINDOW, FETCH_MAX, PIECE_MAX
from core.messages import Bye, Discard, Error, Extent, Fetch, Lack, Mode, NoBlob, Offer, Piece, Ping, Pong, Reason
from tests.net import PATIENCE, LocalBroker, Wire, identity, profile, until, works

BLOB = bytes(range(16))
MIB = 1024 * 1024


def upload(wire: Wire, blob: bytes, data: bytes) -> None:
    wire.say(Offer(blob, len(data)))
    at = credit = upto = 0
    while upto < len(data):
        while at < credit:
            end = min(at + PIECE_MAX, credit)
            wire.send(frames.piece(blob, at, data[at:end]))
            at = end
        told = wire.expect(Extent)
        upto, credit = told.upto, max(credit, told.credit)


def fetch(wire: Wire, blob: bytes, size: int) -> bytes:
    """All of it, with as much asked for as may be."""
    parts, asked, at = [], 0, 0
    while at < size:
        while asked < size and asked - at + FETCH_MAX <= BLOB_WINDOW:
            wire.say(Fetch(blob, asked, min(size, asked + FETCH_MAX)))
            asked = min(size, asked + FETCH_MAX)
        piece = wire.expect(Piece)
        assert (piece.blob, piece.offset) == (blob, at)
        parts.append(piece.data)
        at += len(piece.data)
    return b"".join(parts)


def test_a_file_goes_up_and_comes_down_also_after_a_restart(tmp_path: Path) -> None:
    data = os.urandom(20 * MIB + 12345)
    me = identity("alice")
    with (
        LocalBroker(folder=tmp_path) as broker,
        Wire(broker.address).log_in(me) as alice,
        Wire(broker.address).log_in("bob", Mode.SEND) as bob,
        Wire(broker.address).log_in("carol") as carol,
    ):
        upload(alice, BLOB, data)
        assert fetch(bob, BLOB, len(data)) == data
        works(broker, alice, carol)
        until(lambda: not broker.router.blobs.fetches._readers)
        assert broker.router.blobs._reserved == 0
    with (
        LocalBroker(folder=tmp_path) as again,
        Wire(again.address).log_in("bob") as bob,
        Wire(again.address).log_in(me, Mode.SEND) as alice,
    ):
        assert fetch(bob, BLOB, len(data)) == data
        alice.say(Discard(BLOB))
        alice.say(Fetch(BLOB, 0, 1))
        assert alice.expect(NoBlob) == NoBlob(BLOB, Lack.UNKNOWN)


def test_what_is_not_allowed_ends_the_connection() -> None:
    with LocalBroker() as broker:
        with Wire(broker.address).log_in("alice") as alice:
            alice.say(Offer(BLOB, 10))
            alice.expect(Extent)
            alice.send(frames.piece(BLOB, 3, b"x"))
            assert alice.expect(Error).reason is Reason.MALFORMED
        with Wire(broker.address).log_in("alice") as alice:
            for _ in range(BLOB_WINDOW // FETCH_MAX):
                alice.say(Fetch(BLOB, 0, FETCH_MAX))  # of what is not whole: unknown, and counts for nothing
            for _ in range(BLOB_WINDOW // FETCH_MAX):
                assert alice.expect(NoBlob).why is Lack.UNKNOWN


def test_nobody_says_any_of_it_before_the_login() -> None:
    with LocalBroker() as broker:
        for raw in (
            frames.control(Offer(BLOB, 10)),
            frames.control(Fetch(BLOB, 0, 1)),
            frames.control(Discard(BLOB)),
            frames.piece(BLOB, 0, b"x"),
        ):
            with Wire(broker.address) as wire:
                wire.send(raw)
                assert wire.expect(Error).reason is Reason.NOT_LOGGED_IN
        assert broker.router.blobs.count == 0


def test_an_upload_goes_on_after_its_connection_has_ended() -> None:
    data = os.urandom(3 * PIECE_MAX)
    me = identity("alice")
    with LocalBroker() as broker:
        with Wire(broker.address).log_in(me) as alice:
            alice.say(Offer(BLOB, len(data)))
            alice.expect(Extent)
            alice.send(frames.piece(BLOB, 0, data[:PIECE_MAX]))
            assert alice.expect(Extent).upto == PIECE_MAX
            alice.say(Bye())
        with Wire(broker.address).log_in(me) as alice:
            alice.say(Offer(BLOB, len(data)))
            assert alice.expect(Extent).upto == PIECE_MAX
            for at in (PIECE_MAX, 2 * PIECE_MAX):
                alice.send(frames.piece(BLOB, at, data[at : at + PIECE_MAX]))
            while alice.expect(Extent).upto < len(data):
                pass
            assert fetch(alice, BLOB, len(data)) == data


def test_a_client_that_does_not_read_what_it_fetches_costs_little_and_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    data = os.urandom(FETCH_MAX)
    with (
        LocalBroker() as broker,
        Wire(broker.address, rcvhwm=1, rcvbuf=8192).log_in("alice") as slow,
        Wire(broker.address).log_in("bob") as bob,
    ):
        upload(bob, BLOB, data)
        fetches, sending = broker.router.blobs.fetches, broker.server._sending
        taken: list[Fetch] = []
        take = fetches.fetch

        def fetching(connection: Connection, one: Fetch) -> bool:
            taken.append(one)
            return take(connection, one)

        monkeypatch.setattr(fetches, "fetch", fetching)
        # Far more than a window in all, as soon as the broker has handed over what was asked for before.
        asked = without_room = 0
        while without_room < 200 and asked < 100:
            readers = [reader for one, reader in list(fetches._readers.items()) if one.user == "alice"]
            if not readers or readers[0].outstanding + FETCH_MAX <= BLOB_WINDOW - FETCH_MAX:
                slow.say(Fetch(BLOB, 0, FETCH_MAX))
                asked, without_room = asked + 1, 0
                until(lambda: len(taken) == asked)  # noqa: B023 - called at once
            else:
                without_room += 1
            bob.say(Ping())  # a turn of the broker's loop, in which it may hand over more
            bob.expect(Pong)
        assert asked < 40
        assert sum(size for flying in list(sending.flying.values()) for _, size in flying) <= 2 * FETCH_MAX
        assert fetch(bob, BLOB, len(data)) == data
        while asked:  # and in the end it gets all of it
            got = 0
            while got < FETCH_MAX:
                piece = slow.expect(Piece)
                assert piece.data == data[piece.offset : piece.offset + PIECE_MAX]
                got += len(piece.data)
            asked -= 1
        until(lambda: not fetches._readers and not sending.flying)


def test_chat_is_quick_beside_files() -> None:
    data = os.urandom(8 * MIB)
    with (
        LocalBroker() as broker,
        Wire(broker.address).log_in("alice") as alice,
        Wire(broker.address).log_in("bob", Mode.SEND) as bob,
    ):
        upload(alice, BLOB, data)
        ended = threading.Event()

        def load() -> None:
            while not ended.is_set():
                fetch(bob, BLOB, len(data))

        thread = threading.Thread(target=load)
        thread.start()
        try:
            times = []
            for _ in range(50):
                began = time.monotonic()
                alice.say(Ping())
                alice.expect(Pong)
                times.append(time.monotonic() - began)
        finally:
            ended.set()
            thread.join(PATIENCE)
        assert sorted(times)[25] < 0.5  # generous, for machines that are busy: it is a few milliseconds


def test_a_name_that_is_released_loses_its_files() -> None:
    with LocalBroker() as broker, Wire(broker.address).log_in(profile("alice")) as alice:
        upload(alice, BLOB, b"12345")
        release(broker.folder, "alice")
        until(lambda: broker.router.blobs.count == 0)
        alice.say(Fetch(BLOB, 0, 1))
        assert alice.expect(NoBlob).why is Lack.UNKNOWN
