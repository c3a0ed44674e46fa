"""Conversations, and the connection under them."""

from __future__ import annotations

from typing import Final

from playwright.sync_api import expect

from clients.chat import ChatClient
from core.bundle import Suite
from core.names import EVERYONE
from scripts.screenshots.forger import Forger, Target
from scripts.screenshots.studio import LIMIT_MS, Studio, choose, composer, unlock, write

_LOG: Final = (
    "db1: backup started, 1.2 GB",
    "db1: backup done in 4 min, checksums match",
    "web2: certificate renewed, valid until March",
    "web2: nginx reloaded",
)
_TABLE: Final = "host   address     disk\ndb1    10.0.0.11   61 %\nweb1   10.0.0.12    8 %\nweb2   10.0.0.13    9 %"


def _say(client: ChatClient, text: str, to: str, suite: Suite = Suite.HYBRID) -> None:
    client.wait_sent(client.send(text, to, suite=suite), LIMIT_MS / 1000, stored=False)


def alone_and_together(studio: Studio) -> None:
    """A guest who is alone, for nobody, with everyone, and with one who leaves."""
    with studio.guest_tab("alice") as page:
        command = page.get_by_test_id("stCode").get_by_text("hello from a terminal")
        studio.shoot(page, "empty", "Nothing has been said yet.", "Nobody else is here yet.", command)
        write(page, EVERYONE, "Is anybody there?", word="")
        studio.shoot(page, "nobody", "Nobody else is connected, so nothing was sent.")
        composer(page, EVERYONE).fill("")
        bob, carol = studio.person("bob"), studio.person("carol")
        expect(page.get_by_text("bob and carol are here with you.")).to_be_visible()
        _say(bob, "Morning! The backup of db1 took 4 minutes.", EVERYONE)
        _say(bob, "Restored it into staging as a test:\n  3 tables, 1.2 GB, checksums match", EVERYONE)
        write(page, EVERYONE, "Good. Then I rotate the keys now; please don't deploy until I say so.")
        _say(carol, "All right, deploys are on hold.", EVERYONE, Suite.CHUNKED)
        studio.shoot(page, "everyone", "All right, deploys are on hold.")
        _say(bob, "The new passphrase is in the safe.", "alice")
        _say(bob, "Second shelf.", "alice")
        _say(carol, "Lunch?", "alice")
        expect(page.get_by_test_id("stSidebar").get_by_role("button", name="bob")).to_contain_text("2")
        studio.shoot(page, "unread", page.get_by_test_id("stSidebar").get_by_role("button", name="carol").filter(has_text="1"))
        choose(page, "carol")
        studio.dismiss("carol")
        expect(page.get_by_text("not here now")).to_be_visible()
        write(page, "carol", "Yes, at twelve.", word="was not here")
        again = studio.person("carol")
        studio.shoot(page, "not-sent", page.get_by_role("button", name="Send again to carol"))
        _say(again, _TABLE, "alice")
        studio.shoot(page, "guest-again", "a guest with a new key", "10.0.0.13")
    studio.dismiss()


def one_to_one(studio: Studio) -> None:
    """A profile and another one, who leaves; then the broker is killed, comes back, and is not heard of."""
    bob = studio.profile("bob", "bobs")
    with studio.profile_tab("alice") as page:
        choose(page, "bob")
        _say(bob, "Did the restore go through?", "alice")
        write(page, "bob", "Yes, this morning. I'll send you the numbers.")
        _say(bob, "Great. I have to run, write whenever you like.", "alice")
        studio.dismiss()
        expect(page.get_by_text("not here now")).to_be_visible()
        write(page, "bob", "3 tables, 1.2 GB, 4 minutes.", word="stored")
        studio.shoot(page, "direct", "✓✓ delivered", "✓ stored")
        studio.kill_broker()
        expect(page.get_by_text("Not connected for")).to_be_visible()
        write(page, "bob", "The broker is away, by the way.", word="queued")
        write(page, "bob", "So this waits here.", word="queued")
        studio.shoot(page, "offline", "2 messages wait here")
        studio.start_broker()
        page.get_by_role("button", name="Try again now").or_(page.locator(".sc-panel.sc-good")).first.click()
        studio.shoot(page, "back", "Connected again")
    studio.freeze_broker()
    with studio.tab("/?profile=alice") as page:
        unlock(page)
        choose(page, "bob")
        write(page, "bob", "Written before the connection stood.", word="queued")
        studio.shoot(page, "connecting", "Connecting to")
    studio.wake_broker()


def long_ago(studio: Studio) -> None:
    """So much was said that the page does not draw it all; and something in it is looked for."""
    bob = studio.profile("bob", "bobs")
    with studio.profile_tab("alice") as page:
        for number in range(90):
            bob.send(f"{_LOG[number % len(_LOG)]} (run {number + 1})", "alice")
        choose(page, "bob")
        expect(page.get_by_text("(run 90)")).to_be_visible()
        older = page.get_by_role("button", name="Load older")
        older.scroll_into_view_if_needed()
        studio.shoot(page, "older", older)
        page.get_by_placeholder("Search, or a name to write to").fill("restore")
        page.get_by_placeholder("Search, or a name to write to").press("Enter")
        studio.shoot(page, "search", "“restore”", page.get_by_role("button", name="Show in bob"))
    studio.dismiss()


def what_is_wrong(studio: Studio) -> None:
    """Messages of somebody whose program is not ours."""
    with studio.guest_tab("alice") as page:
        alice = Target.on(page, "alice")
        erin, frank = Forger("erin", studio.address), Forger("frank", studio.address)
        with erin.courier, frank.courier:
            erin.come()
            erin.send("The first of four.", alice, 1)
            erin.send("The fourth, right after the first.", alice, 4)
            erin.send("And the second, late.", alice, 2)
            expect(page.get_by_test_id("stSidebar").get_by_role("button", name="erin")).to_contain_text("3")
            choose(page, "erin")
            studio.shoot(page, "gaps", "2 messages from erin are missing", "others overtook it")
            frank.come()
            frank.send("Hello from my new laptop.", alice, 1)
            frank.send("Can you read this?", alice, 2, for_nobody=True)
            expect(page.get_by_test_id("stSidebar").get_by_role("button", name="frank")).to_contain_text("2")
            choose(page, "frank")
            studio.shoot(page, "undecryptable", "A message said to be from frank was refused")
