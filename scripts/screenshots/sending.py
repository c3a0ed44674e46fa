"""Files: pictures, what is under way, and what comes to nothing."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from typing import Final

from playwright.sync_api import Locator, Page, expect
from playwright.sync_api import TimeoutError as NotInTime

from core.content import File
from scripts import demo
from scripts.processes import Failed
from scripts.screenshots.studio import LIMIT_MS, Studio, attach, choose, write

_BIG: Final = 150_000_000  # bytes: more than goes over in a moment
_MOMENT: Final = 0.05
_MOMENTS: Final = 60
_LOOK_MS: Final = 1500  # the page refreshes itself meanwhile
_MOVED: Final = (
    "[...document.querySelectorAll('.sc-bar')].some(bar => Number(bar.ariaValueNow) >= 15)"  # per cent: enough to be noted
)


def files(studio: Studio) -> None:
    """All that can become of files."""
    big = studio.home / "recording.mkv"
    big.write_bytes(os.urandom(1_000_000) * (_BIG // 1_000_000))
    bob = studio.profile("bob", "bobs")
    with studio.profile_tab("alice") as page:
        _received(page, studio)
        studio.dismiss()
        _freeze_in_the_middle(page, studio, lambda: attach(page, "bob", big))
        studio.shoot(page, "upload", _card(page).get_by_role("button", name="Stop"))
        studio.wake_broker()
        _card(page).get_by_role("button", name="Stop").click()
        studio.shoot(page, "upload-stopped", "You stopped it, so nothing was sent.", "are at the broker already")
        _freeze_in_the_middle(page, studio, _card(page).get_by_role("button", name="Go on").click)
        studio.shoot(page, "upload-resumed", "went on at")
        studio.kill_broker()
        studio.shoot(page, "upload-offline", "It goes on when the broker is back.")
    studio.start_broker("--files-each-user", "1M")
    with studio.profile_tab("alice") as page:
        choose(page, "bob")
        studio.shoot(page, "upload-left", "Its upload was broken off")
        page.get_by_role("button", name="Forget it").click()
        small = studio.home / "slides.pdf"
        small.write_bytes(os.urandom(2_400_000))
        attach(page, "bob", small)
        studio.shoot(page, "over-quota", "your room for files there is used up")
    assert bob


def _received(page: Page, studio: Studio) -> None:
    bob = studio.people["bob"]
    hills = studio.home / "hills.png"
    hills.write_bytes(demo.hills(480, 240))
    choose(page, "bob")
    bob.send("From the window, just now:", "alice")
    bob.wait_sent(bob.send(bob.files.upload(hills), "alice"), LIMIT_MS / 1000)
    write(page, "bob", "Lovely. Is that the new office?")
    studio.shoot(page, "picture", page.locator(".sc-picture img"))
    gone = File("minutes.pdf", 84_210, bytes(32), bytes(32), os.urandom(16))  # as if it had been there
    bob.wait_sent(bob.send(gone, "alice"), LIMIT_MS / 1000)
    page.locator('[class*="st-key-card-"]').filter(has_text="minutes.pdf").get_by_role("button", name="Get").click()
    studio.shoot(page, "expired", "The broker does not have minutes.pdf, or no longer.")
    big = studio.home / "site-plan.zip"
    big.write_bytes(os.urandom(1_000_000) * (_BIG // 1_000_000))
    bob.wait_sent(bob.send(bob.files.upload(big), "alice"), LIMIT_MS / 1000)
    plan = page.locator('[class*="st-key-card-"]').filter(has_text="site-plan.zip")
    _freeze_in_the_middle(page, studio, plan.get_by_role("button", name="Get").click)
    studio.shoot(page, "download")
    studio.wake_broker()
    expect(plan.get_by_role("button", name="Save")).to_be_visible()


def _card(page: Page) -> Locator:
    return page.locator('[class*="st-key-card-mine-up-"]').last


def _freeze_in_the_middle(page: Page, studio: Studio, begin: Callable[[], None]) -> None:
    """Have a part of a file go over, and then the broker do nothing: it works for moments only, until the page shows it."""
    studio.freeze_broker()
    begin()
    for _ in range(_MOMENTS):
        studio.wake_broker()
        time.sleep(_MOMENT)
        studio.freeze_broker()
        with contextlib.suppress(NotInTime):
            page.wait_for_function(_MOVED, polling=20, timeout=_LOOK_MS)
            return
    raise Failed("Too little of the file has gone over.")
