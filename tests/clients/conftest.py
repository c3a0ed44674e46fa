"""A broker and a listener that the tests of the command line share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.broker_process import BrokerProcess, Running, listening


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    with BrokerProcess(tmp_path_factory.mktemp("cli")) as running:
        yield running


@pytest.fixture(scope="module")
def bob(broker: BrokerProcess) -> Iterator[Running]:
    """Listens all the time, printing JSON."""
    with listening(broker.env, "bob", "--json") as running:
        yield running


@pytest.fixture
def env(broker: BrokerProcess) -> dict[str, str]:
    return dict(broker.env)
