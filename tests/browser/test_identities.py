"""Profiles on the page: unlocked, verified, and held to the keys that are known; in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.broker_process import BrokerProcess, admin, cli, got, listening
from tests.browser.conftest import GuestFactory, Tabs, Visitors, choose, wait_for_refreshes, write
from tests.browser.test_files import attach, card, payload, png, save, submit
from tests.net import until
from tests.page_process import page_server

SECRET = "open sesame"


@pytest.fixture
def settled(tmp_path: Path) -> Iterator[BrokerProcess]:
    """A broker, and on the same machine the profile alice under a passphrase."""
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    with BrokerProcess(tmp_path) as running:
        made = cli(running.env, "--passphrase-file", str(secret), "init", "alice")
        assert made.code == 0, made.err
        yield running


@pytest.fixture
def own_tabs(visitors: Visitors, settled: BrokerProcess, tmp_path: Path) -> Iterator[Tabs]:
    """Tabs of a page on that machine."""
    with page_server(tmp_path) as url, Tabs(visitors, url) as tabs:
        yield tabs


def person(broker: BrokerProcess, folder: Path, name: str) -> dict[str, str]:
    """A home in which the profile ``name`` was just made."""
    env = {**broker.env, "SECURECHAT_HOME": str(folder)}
    until(lambda: cli(env, "init", name).code == 0)  # the broker hears of a release in its own time
    return env


def number(env: dict[str, str], peer: str) -> str:
    return str(cli(env, "--json", "verify", peer).data[0]["number"])


def unlock(page: Page, passphrase: str) -> None:
    page.get_by_label("Passphrase", exact=True).fill(passphrase)
    page.get_by_role("button", name="Unlock").click()


def shown(page: Page) -> Locator:
    """The digits of the safety number."""
    return page.get_by_role("dialog").locator(".sc-number")


def verify(page: Page) -> str:
    """Open the dialog; returns its number."""
    page.locator(".st-key-verify").get_by_role("button").click()
    expect(shown(page)).to_be_visible()
    return re.sub(r"\s", "", shown(page).inner_text())


def test_unlock_chat_verify_and_decide_about_a_changed_key(own_tabs: Tabs, settled: BrokerProcess, tmp_path: Path) -> None:
    page = own_tabs.open()
    page.get_by_text("Profile", exact=True).click()
    unlock(page, "wrong")
    expect(page.get_by_text("That is not the profile's passphrase")).to_be_visible()
    expect(page.get_by_label("Passphrase", exact=True)).to_have_value("")
    bob = person(settled, tmp_path / "bob", "bob")
    with listening(bob, None, "--json") as present:
        unlock(page, SECRET)
        expect(page.get_by_text("connected · profile", exact=True)).to_be_attached()
        choose(page, "bob")
        write(page, "bob", "hello from a profile")
        assert got(present, "hello from a profile")["from"] == "alice"
        expect(page.locator(".sc-mine")).to_contain_text("✓✓ delivered")

        digits = verify(page)
        assert digits == number(bob, "alice")
        match = page.get_by_role("button", name="They match")
        match.focus()
        wait_for_refreshes(page, 3)
        expect(shown(page)).to_be_visible()
        expect(match).to_be_focused()
        assert re.sub(r"\s", "", shown(page).inner_text()) == digits
        match.press("Enter")
        expect(shown(page)).to_be_hidden()
        expect(page.locator(".st-key-head")).to_contain_text("✓ verified")
        expect(page.get_by_test_id("stSidebar").get_by_role("button", name="bob")).to_contain_text("✓")
        verify(page)
        page.keyboard.press("Escape")
        expect(shown(page)).to_be_hidden()
        wait_for_refreshes(page, 2)
        expect(shown(page)).to_be_hidden()

    released = admin(settled.data, settled.env, "release", "bob")
    assert released.code == 0, released.err
    other = person(settled, tmp_path / "other", "bob")
    with listening(other, None, "--json") as present:
        expect(page.get_by_text("bob uses another key than the one you know.")).to_be_visible()
        expect(page.get_by_test_id("stSidebar").get_by_role("button", name="bob")).to_contain_text("⚠")
        composer = page.get_by_placeholder("Message bob", exact=True)
        composer.fill("for bob alone")
        composer.press("Enter")
        expect(page.get_by_text("Not sent:")).to_be_visible()
        wait_for_refreshes(page, 1)
        expect(composer).to_have_value("for bob alone")
        expect(page.locator(".sc-mine")).to_have_count(1)

        page.get_by_role("button", name="Compare").click()
        expect(shown(page)).to_be_visible()
        changed = re.sub(r"\s", "", shown(page).inner_text())
        assert changed != digits
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Accept the new key").click()
        expect(page.get_by_text("bob uses another key than the one you know.")).to_be_hidden()
        expect(page.get_by_text("Not sent:")).to_be_hidden()
        expect(composer).to_have_value("for bob alone")
        composer.press("Enter")
        assert got(present, "for bob alone")["from"] == "alice"
        assert number(other, "alice") == changed
        expect(page.locator(".sc-mine", has_text="for bob alone")).to_contain_text("✓✓ delivered")

    page.reload()
    expect(page.get_by_role("button", name="Unlock")).to_be_visible()
    unlock(page, SECRET)
    expect(page.get_by_text("connected · profile", exact=True)).to_be_attached()


def test_two_guests_compare_and_block(tabs: Tabs, guest: GuestFactory) -> None:
    alice, bob = tabs.join("alice"), tabs.join("bob", width=390, height=780, scheme="dark")
    choose(alice, "bob")
    bob.get_by_test_id("stExpandSidebarButton").click()
    choose(bob, "alice")
    assert verify(alice) == verify(bob)
    dialog = bob.get_by_role("dialog")
    code = dialog.get_by_role("img", name="The same number as a QR code")
    expect(code).to_be_visible()
    assert bob.evaluate("document.documentElement.scrollWidth <= innerWidth")
    expect(dialog.get_by_text("You are a guest")).to_be_visible()
    dialog.get_by_role("button", name="They match").click()
    expect(bob.locator(".st-key-head")).to_contain_text("✓ verified")

    alice.get_by_role("dialog").get_by_role("button", name="Block bob").click()
    expect(alice.get_by_text("You have blocked bob.")).to_be_visible()
    write(alice, "bob", "not to you")
    expect(alice.get_by_text("Not sent:")).to_be_visible()
    alice.get_by_role("button", name="Unblock").click()
    expect(alice.get_by_text("You have blocked bob.")).to_be_hidden()
    alice.get_by_placeholder("Message bob", exact=True).press("Enter")
    expect(bob.locator(".sc-theirs")).to_contain_text("not to you")


def test_files_of_a_profile_are_there_when_it_comes_back(own_tabs: Tabs, settled: BrokerProcess, tmp_path: Path) -> None:
    page = own_tabs.open()
    page.get_by_text("Profile", exact=True).click()
    person(settled, tmp_path / "bob", "bob")
    unlock(page, SECRET)
    expect(page.get_by_text("connected · profile", exact=True)).to_be_attached()
    bob = {**settled.env, "SECURECHAT_HOME": str(tmp_path / "bob")}
    with listening(bob, None, "--json") as present:
        choose(page, "bob")
        write(page, "bob", "first a text")
        got(present, "first a text")
        attach(page, "bob", payload("view.png", png(64, 48)), payload("list.txt", b"eggs"))
        submit(page)
        expect(card(page, "list.txt")).to_contain_text("✓✓ delivered")
        page.reload()
        unlock(page, SECRET)
        choose(page, "bob")
        page.wait_for_function("document.querySelector('.sc-picture img')?.naturalWidth === 64")
        card(page, "list.txt").get_by_role("button", name="Get").click()
        assert save(page, "list.txt") == b"eggs"
