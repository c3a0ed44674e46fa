"""The page while its broker comes and goes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from clients.chat import ChatClient
from clients.view import text_of
from core.events import MessageReceived
from tests.browser.conftest import LIMIT, Broker, Tabs, choose, connect, environment, page_server, write


@pytest.fixture
def absent_broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker of this test's own, not yet started."""
    one = Broker(environment(tmp_path), tmp_path / "data")
    yield one
    one.close()


@pytest.fixture
def own_tabs(chromium: Browser, absent_broker: Broker) -> Iterator[Tabs]:
    """Tabs of a page that looks for that broker."""
    with page_server(absent_broker.environ) as url:
        tabs = Tabs(chromium, url)
        yield tabs
        tabs.close()
    assert tabs.strangers == []


def test_a_broker_that_starts_late_is_found_and_one_that_was_killed_is_waited_for(
    own_tabs: Tabs, absent_broker: Broker
) -> None:
    page = own_tabs.open()
    expect(page.get_by_text("No broker is running on this machine.")).to_be_visible()
    page.get_by_label("Your name").fill("alice")
    absent_broker.start()
    expect(page.get_by_label("Broker")).to_have_value(absent_broker.address.url)
    expect(page.get_by_text("No broker is running on this machine.")).to_be_hidden()
    connect(page, "alice")

    with ChatClient("bob", absent_broker.address) as bob:
        choose(page, "bob")
        absent_broker.kill()
        expect(page.get_by_text("Not connected for")).to_be_visible()
        write(page, "bob", "kept for you")
        expect(page.locator(".sc-mine")).to_contain_text("… queued")
        expect(page.get_by_text("1 message waits here")).to_be_visible()

        absent_broker.start()
        bob.retry_now()
        again = page.get_by_role("button", name="Send again to bob")
        page.get_by_role("button", name="Try again now").or_(page.locator(".sc-panel.sc-good")).first.click()
        expect(page.get_by_text("Not connected for")).to_be_hidden()
        # Whoever comes back first finds the other absent: then it takes one more click.
        expect(page.locator(".sc-mine").last.get_by_text("delivered").or_(again).first).to_be_visible()
        if again.is_visible():
            again.click()
        received = next(event for event in bob.events(LIMIT) if isinstance(event, MessageReceived))
        assert text_of(received.message.content) == "kept for you"
        expect(page.locator(".sc-mine").last).to_contain_text("✓✓ delivered")
