"""A broker, and people with profiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.broker_process import BrokerProcess
from tests.clients.profiles.people import Env, release, settle


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    with BrokerProcess(tmp_path_factory.mktemp("profiles")) as running:
        yield running


@pytest.fixture
def person(broker: BrokerProcess, tmp_path: Path) -> Callable[[str], Env]:
    """Somebody's environment, with a home of their own and the broker within sight."""
    return lambda who: {**broker.env, "SECURECHAT_HOME": str(tmp_path / who)}


@pytest.fixture
def alice(broker: BrokerProcess, person: Callable[[str], Env]) -> Iterator[Env]:
    """A profile; its name is free again after the test."""
    yield settle(broker, person("alice"), "alice")
    release(broker, "alice")


@pytest.fixture
def bob(broker: BrokerProcess, person: Callable[[str], Env]) -> Iterator[Env]:
    yield settle(broker, person("bob"), "bob")
    release(broker, "bob")
