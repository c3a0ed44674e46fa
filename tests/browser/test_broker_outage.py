"""The page while its broker comes and goes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import expect

from clients.chat import ChatClient
from clients.view import text_of
from core.events import MessageReceived
from tests.broker_process import BrokerProcess
from tests.browser.conftest import LIMIT, Tabs, Visitors, choose, connect, write
from tests.page_process import page_server


@pytest.fixture
def lonely_tabs(visitors: Visitors, tmp_path: Path) -> Iterator[Tabs]:
    """Tabs of a page where no broker has ever run."""
    with page_server(tmp_path) as url, Tabs(visitors, url) as tabs:
        yield tabs


def test_a_broker_that_starts_late_is_found_and_one_that_was_killed_is_waited_for(lonely_tabs: Tabs, tmp_path: Path) -> None:
    page = lonely_tabs.open()
    expect(page.get_by_text("No broker is running on this machine.")).to_be_visible()
    page.get_by_label("Your name").fill("alice")
    with ExitStack() as stack:
        broker = stack.enter_context(BrokerProcess(tmp_path))
        expect(page.get_by_label("Broker")).to_have_value(broker.address.url)
        expect(page.get_by_text("No broker is running on this machine.")).to_be_hidden()
        connect(page, "alice")
        bob = stack.enter_context(ChatClient("bob", broker.address))
        choose(page, "bob")
        broker.end(signal.SIGKILL)
        expect(page.get_by_text("Not connected for")).to_be_visible()
        write(page, "bob", "kept for you")
        expect(page.locator(".sc-mine")).to_contain_text("… queued")
        expect(page.get_by_text("1 message waits here")).to_be_visible()

        stack.enter_context(BrokerProcess(tmp_path, port=broker.address.port))
        bob.retry_now()
        page.get_by_role("button", name="Try again now").or_(page.locator(".sc-panel.sc-good")).first.click()
        expect(page.get_by_text("Not connected for")).to_be_hidden()
        # Whoever comes back first finds the other absent: then it takes one more click.
        again = page.get_by_role("button", name="Send again to bob")
        expect(page.locator(".sc-mine").last.get_by_text("delivered").or_(again).first).to_be_visible()
        if again.is_visible():
            again.click()
        expect(page.locator(".sc-mine").last).to_contain_text("✓✓ delivered")
        write(page, "bob", "afterwards")
        texts = (text_of(event.message.content) for event in bob.events(LIMIT) if isinstance(event, MessageReceived))
        assert [next(texts), next(texts)] == ["kept for you", "afterwards"]  # each once
