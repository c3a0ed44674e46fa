"""A profile's client that runs for weeks: its bundle, and its encryption key."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from broker.curve import new_curve_keys
from clients.chat import ChatClient
from clients.chronicle import ConnectionState
from clients.keystore import Keystore
from clients.profiles import OpenProfile
from core.bundle import Bundle, read_bundle
from tests.net import PATIENCE, LocalBroker, until

DAY = 24 * 3600


@pytest.fixture
def keystore(tmp_path: Path) -> Keystore:
    OpenProfile.create(tmp_path, "alice", None).close()
    return Keystore(tmp_path, "alice")


@pytest.fixture
def profile(tmp_path: Path, keystore: Keystore) -> Iterator[OpenProfile]:
    with contextlib.closing(OpenProfile(tmp_path, keystore.name, None)) as opened:
        yield opened


def handed_out(broker: LocalBroker) -> Bundle:
    signed = broker.router.directory.bundle("alice")
    assert signed is not None
    return read_bundle(signed, "alice")


@pytest.mark.parametrize("days", [16, 31])
def test_a_profile_that_was_cut_off_for_weeks_comes_back(keystore: Keystore, profile: OpenProfile, days: int) -> None:
    keys = new_curve_keys()
    with LocalBroker(keys=keys) as first:
        client = ChatClient(profile, first.address, events=False)
        client.start()
        client.wait_ready(PATIENCE)
        port = first.address.port
    with contextlib.closing(client):
        until(lambda: client.status.state is ConnectionState.OFFLINE)
        old = keystore.update(None, lambda one: replace(one, bundled=one.bundled - days * DAY))
        profile.keys = old
        client._transport.call(lambda session, _: session.adopt(old.identity(session.me.curve or b"")))
        with LocalBroker(keys=keys, port=port) as second:
            client.retry_now()
            until(lambda: client.status.state is not ConnectionState.OFFLINE)
            assert client.status.state is ConnectionState.ONLINE
            bundle = handed_out(second)
            assert (bundle.seq, bundle.valid_at(int((time.time() + 20 * DAY) * 1000))) == (old.seq + 1, True)
            assert keystore.open(None).seq == old.seq + 1
            client.close()


def test_a_new_key_that_cannot_be_made_is_said_in_a_sentence(
    keystore: Keystore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keystore.update(None, lambda one: replace(one, keys=(replace(one.keys[0], made=one.keys[0].made - 2 * DAY),)))
    path = keystore.folder / "keystore"
    whole = path.read_bytes()
    with contextlib.closing(OpenProfile(tmp_path, "alice", None)) as profile, LocalBroker() as broker:
        path.write_bytes(whole[:-1])
        with caplog.at_level(logging.WARNING), ChatClient(profile, broker.address) as client:
            until(lambda: "A new encryption key could not be made: The keystore is damaged" in caplog.text)
            assert "Traceback" not in caplog.text
            assert handed_out(broker).seq == 1
            path.write_bytes(whole)
            client._rotate()  # as it is an hour later
            until(lambda: handed_out(broker).seq == 2)
