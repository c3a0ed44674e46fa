"""A broker, a listener and pages that the tests of the clients share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from clients.page_state import DEPARTURES
from tests.broker_process import BrokerProcess, Running, environment, listening
from tests.clients.pages import page


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


@pytest.fixture
def settle(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], None]:
    """Makes an environment this process's own."""

    def take(env: dict[str, str]) -> None:
        for name in ("HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"):
            monkeypatch.setenv(name, env[name])
        for name in [name for name in os.environ if name.startswith(("SECURECHAT_", "XDG_DATA_", "XDG_CONFIG_"))]:
            monkeypatch.delenv(name)

    return take


@pytest.fixture
def lonely(tmp_path: Path, settle: Callable[[dict[str, str]], None]) -> Iterator[AppTest]:
    """The page where no broker has ever run."""
    settle(environment(tmp_path))
    yield page()
    DEPARTURES.close_all()


@pytest.fixture
def served(broker: BrokerProcess, settle: Callable[[dict[str, str]], None]) -> Iterator[AppTest]:
    """The page beside a running broker."""
    settle(broker.env)
    yield page()
    DEPARTURES.close_all()
