"""Whom to believe: numbers that are compared, keys that change, and people who are blocked."""

from __future__ import annotations

import shutil

from playwright.sync_api import Page, expect

from scripts.screenshots.studio import Studio, choose, composer, write


def decisions(studio: Studio) -> None:
    """Compare, verify, and two people whose keys change."""
    for name in ("dave", "erin"):
        studio.profile(name, f"{name}s")
    with studio.profile_tab("alice") as page:
        choose(page, "dave")
        write(page, "dave", "Good to have you here.")
        page.locator(".st-key-verify").get_by_role("button").click()
        studio.shoot(page, "verify", page.get_by_role("dialog").locator(".sc-number"))
        page.get_by_role("button", name="They match").click()
        studio.shoot(page, "verified", page.locator(".st-key-head").get_by_text("✓ verified"))
        choose(page, "erin")
        write(page, "erin", "Welcome, erin.")
        _renew(studio, "erin")
        studio.shoot(page, "key-changed", "erin uses another key than the one you know.")
        page.get_by_role("button", name="Block", exact=True).click()
        _renew(studio, "dave")
        _changed(page, studio)
        choose(page, "erin")
        page.get_by_role("button", name="Accept and unblock").click()
        page.locator(".st-key-verify").get_by_role("button").click()
        page.get_by_role("button", name="Block erin").click()
        studio.shoot(page, "blocked", "You have blocked erin.")
    studio.dismiss()


def _changed(page: Page, studio: Studio) -> None:
    choose(page, "dave")
    expect(page.get_by_text("dave uses another key than the one you know.")).to_be_visible()
    write(page, "dave", "The door code is in the vault.", word="")
    expect(composer(page, "dave")).to_have_value("The door code is in the vault.")
    studio.shoot(page, "key-changed-verified", "Not sent:", "verified on")


def _renew(studio: Studio, name: str) -> None:
    """Somebody has lost their keys, and makes new ones under the same name."""
    studio.dismiss(name)
    shutil.rmtree(studio.home / f"{name}s")
    studio.ask_broker("release", name)
    studio.profile(name, f"{name}s")
