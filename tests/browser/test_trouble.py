"""What the page does when something is in the way."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import expect

from tests.browser.conftest import Listen, Visit
from tests.browser.programs import Cable, town


def test_a_name_in_use_is_refused_and_another_one_gets_in(visit: Visit, listen: Listen) -> None:
    nina = listen("nina")
    other = visit()
    other.connect("no name!")
    expect(other.panel("'no name!' is not a username.")).to_be_visible()
    other.connect("nina", "http://127.0.0.1")
    expect(other.panel("This is not a broker's address")).to_be_visible()
    expect(other.page.get_by_label("Your name")).to_have_value("nina")

    other.page.get_by_label("Broker").fill("")  # the one of this machine is found
    other.press("Connect")
    expect(other.panel("The name 'nina' is in use by somebody else.")).to_contain_text("Choose another name")
    other.connect("nina2")
    other.await_online()
    expect(other.panel("in use")).to_have_count(0)
    nina.told("nina2 joined")
    other.open("nina")
    other.write("nina", "it is me")
    nina.told("nina2: it is me")


def test_the_broker_dies_and_comes_back_and_what_waited_arrives_once(visit: Visit, tmp_path: Path) -> None:
    with town(tmp_path) as there:
        broker = there.start_broker()
        port, address = there.broker()["port"], there.broker()["url"]
        bob = there.listener("bob")
        cable = Cable(port)
        try:
            alice = visit()
            alice.connect("alice", address.replace(f":{port}/", f":{cable.port}/"))
            alice.await_online()
            alice.open("bob")
            alice.write("bob", "before")
            bob.told("alice: before")

            broker.kill()
            expect(alice.panel("Not connected")).to_contain_text("It is tried again and again.")
            expect(alice.page.locator(".sc-me")).to_contain_text("not connected")
            alice.write("bob", "meanwhile")
            expect(alice.messages("meanwhile")).to_contain_text("… queued")
            expect(alice.panel("1 message waits here")).to_be_visible()

            # The message is for whoever is there: the cable keeps its sender away until its recipient is back.
            cable.pull()
            there.start_broker(port)
            bob.told("alice left")
            cable.plug()
            alice.press("Try again now")
            expect(alice.panel("Connected again")).to_be_visible()
            expect(alice.messages("meanwhile")).to_contain_text("✓✓ delivered")
            alice.write("bob", "afterwards")
            bob.told("alice: afterwards")
            assert bob.count("alice: meanwhile") == 1
            expect(alice.messages("meanwhile")).to_have_count(1)
            alice.press("Leave")
            bob.told("alice left")
        finally:
            cable.close()
