"""The README's picture: two guests talking with the page."""

from __future__ import annotations

from typing import Final

from playwright.sync_api import expect

from core.bundle import Suite
from core.names import EVERYONE
from scripts.processes import ROOT
from scripts.screenshots.drawing import svg
from scripts.screenshots.studio import LIMIT_MS, Studio, write

NAME: Final = "readme"
_SIZE: Final = {"width": 1080, "height": 640}
_SCALE: Final = 1.5
_COLOURS: Final = 48  # few enough to be small, and as many as flat surfaces and text need
# Who writes, to whom ("alice" being the page), and what; the page's own lines have no sender here.
_TALK: Final = (
    ("bob", EVERYONE, "Morning! The backup of db1 took 4 minutes.", Suite.HYBRID),
    ("bob", EVERYONE, "Restored it into staging as a test:\n  3 tables, 1.2 GB, checksums match", Suite.HYBRID),
    ("alice", EVERYONE, "Good. Then I rotate the keys now; please don't deploy until I say so.", Suite.HYBRID),
    ("carol", EVERYONE, "All right, deploys are on hold.", Suite.CHUNKED),
    ("bob", EVERYONE, "And I'm in the server room, if anybody looks for me", Suite.HYBRID),
    ("bob", "alice", "The new passphrase is in the safe.", Suite.CHUNKED),
)


def talk(studio: Studio) -> None:
    """Play it, and take the picture."""
    with studio.guest_tab("alice", scale=_SCALE) as page:
        page.set_viewport_size(_SIZE)  # type: ignore[arg-type]
        expect(page.get_by_text("Nobody else is here yet.")).to_be_visible()
        people = {name: studio.person(name) for name in ("bob", "carol")}
        expect(page.get_by_text("bob and carol are here with you.")).to_be_visible()
        for sender, to, text, suite in _TALK:
            if sender == "alice":
                write(page, EVERYONE, text)
            else:
                guest = people[sender]
                guest.wait_sent(guest.send(text, to, suite=suite), LIMIT_MS / 1000, stored=False)
        expect(page.get_by_test_id("stSidebar").get_by_role("button", name="bob")).to_contain_text("1")
        expect(page.locator(".sc-theirs").last).to_contain_text("server room")
        studio.shots[NAME] = [page.screenshot()]
    studio.dismiss()


def write_picture(picture: bytes) -> None:
    """Make docs/page.svg of it."""
    place = ROOT / "docs" / "page.svg"
    title = "The page: a conversation with everyone, and who is there beside it"
    place.write_text(svg(title, [picture], colours=_COLOURS, scale=_SCALE))
    print(f"{place.relative_to(ROOT)}: {place.stat().st_size:,} bytes")
