"""The programs in docs/BOTS.md are run as they stand there."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.chat import ChatClient
from core import events
from tests.broker_process import ROOT, BrokerProcess, Running, cli, got, listening
from tests.net import until

PAGE = (ROOT / "docs" / "BOTS.md").read_text()
ANSWERING, SENDING = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def env(broker: BrokerProcess, tmp_path: Path) -> dict[str, str]:
    env = {**broker.env, "XDG_DATA_HOME": str(tmp_path / "data")}
    done = cli(env, "init", "helper")
    assert done.code == 0, done.err
    return env


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    with BrokerProcess(tmp_path / "machine") as running:
        yield running


def test_a_bot_that_misses_nothing(env: dict[str, str], tmp_path: Path) -> None:
    alice = {**env, "XDG_DATA_HOME": str(tmp_path / "alice")}
    assert cli(alice, "init", "alice").code == 0
    with listening(alice, None, "--json") as there:
        with Running([sys.executable, "-c", ANSWERING], env):
            # The first message pins her key, the next is from somebody known.
            until(lambda: cli(alice, "send", "--wait", "delivered", "helper", "hello").code == 0)
            assert cli(alice, "send", "helper", "ping").code == 0
            got(there, "pong")
        assert cli(alice, "send", "helper", "ping").code == 0  # the bot is away
        answers = len(there.out.lines)
        with Running([sys.executable, "-c", ANSWERING], env):
            until(lambda: len(there.out.lines) > answers)


def test_a_program_that_must_know(env: dict[str, str], tmp_path: Path) -> None:
    alice = {**env, "XDG_DATA_HOME": str(tmp_path / "alice")}
    assert cli(alice, "init", "alice").code == 0
    with Running([sys.executable, "-c", SENDING], env) as program:
        assert program.wait() == 0, program.err.text
        program.out.has("stored safe")


def test_what_the_page_names_is_there() -> None:
    named = set(re.findall(r"`(?:with )?(?:files\.)?([a-z_]+)\(", PAGE)) - {"str"}
    methods = {name for name, _ in inspect.getmembers(ChatClient)} | {"upload", "download"}
    assert named - methods == set()
    assert set(re.findall(r"`([A-Z][A-Za-z]+)\(", PAGE)) - {"ChatClient"} - set(dir(events)) == set()
