"""A login whose answer is lost: the broker may have written the name down, and only the client's key can use it."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.admin import make_invite
from broker.storage import LOG_NAME
from clients import making
from clients.chat import ChatClient
from clients.keystore import Keystore
from clients.profiles import OpenProfile
from core.address import BrokerAddress
from core.errors import BrokerUnreachable
from tests.broker_process import BrokerProcess
from tests.net import PATIENCE, LocalBroker, until


@pytest.fixture
def profile(tmp_path: Path) -> Iterator[OpenProfile]:
    with contextlib.closing(OpenProfile.create(tmp_path, "alice", None)) as opened:
        yield opened


@contextlib.contextmanager
def no_writing(folder: Path) -> Iterator[None]:
    """A broker's disk that is too slow: claims wait."""
    with contextlib.closing(sqlite3.connect(folder / LOG_NAME, isolation_level=None)) as log:
        log.execute("BEGIN IMMEDIATE")
        yield
        log.execute("ROLLBACK")


def test_a_login_that_was_cut_off_is_tried_again_while_there_is_time(tmp_path: Path, profile: OpenProfile) -> None:
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(BrokerProcess(tmp_path))
        client = ChatClient(profile, first.address, events=False)
        stack.callback(client.close)
        with no_writing(first.data):
            client.start()
            until(lambda: client.in_doubt)
            found: list[str] = []

            def wait() -> None:
                client.wait_ready(PATIENCE)
                found.append(client.status.state)

            waiting = threading.Thread(target=wait)
            waiting.start()
            first.process.kill()
            first.wait()
            until(lambda: client.status.state == "offline")
            client.retry_now()
        with BrokerProcess(tmp_path, port=first.address.port) as second:
            waiting.join(PATIENCE)
            assert (found, client.in_doubt) == (["online"], False)
            client.close()
            assert second.end() == 0


@pytest.mark.parametrize("invited", [True, False])
def test_a_profile_that_may_hold_its_name_is_not_taken_back(
    tmp_path: Path, profile: OpenProfile, invited: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``init`` ran out of time while the broker wrote: the name would be lost with the key."""
    with LocalBroker() as broker:
        address = broker.address
        if invited:
            line, _ = make_invite(broker.folder, 1, 3600, "127.0.0.1", address.port)
            address = BrokerAddress.parse(line)
            until(lambda: list(broker.router.door._ledger.invites()))
        with no_writing(broker.folder):
            for seconds in (0.5, 2.0, 8.0):  # a machine that is too busy to get that far in so little time gets more
                monkeypatch.setattr(making, "_PATIENCE", seconds)
                with contextlib.suppress(BrokerUnreachable):
                    assert making._claim(profile, address) is False
                if broker.router.door._claims:
                    break
                profile = OpenProfile.create(tmp_path, "alice", None)
            assert Keystore(tmp_path, "alice").exists
        until(lambda: list(broker.router.door._ledger.owners()))
        with ChatClient(profile, broker.address):
            until(lambda: broker.present == {"alice"})
