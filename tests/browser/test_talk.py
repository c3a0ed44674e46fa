"""Two people in the browser and one on the command line."""

from __future__ import annotations

import json

from playwright.sync_api import expect

from tests.browser.conftest import Arrive, Listen
from tests.browser.programs import Town, bait


def test_three_people_talk_in_private_and_with_everyone(arrive: Arrive, here: Town, listen: Listen) -> None:
    alice, bob = arrive("alice", "bob")
    carol = listen("carol")
    for one in (alice, bob):
        expect(one.system("carol joined")).to_have_count(1)

    alice.open("bob")
    alice.write("bob", "only for bob")
    expect(alice.messages("only for bob")).to_contain_text("hybrid · ✓✓ delivered")
    expect(bob.page.locator(".st-key-to-alice button")).to_contain_text("1")
    expect(bob.page).to_have_title("(1) SecureChat")
    bob.open("alice")
    expect(bob.messages("only for bob")).to_contain_text("alice")
    expect(bob.page).to_have_title("SecureChat")
    bob.write("alice", "only for alice")
    expect(alice.messages("only for alice")).to_contain_text("bob")

    bob.open("everyone")
    bob.write("everyone", "for all of you")
    alice.open("everyone")
    expect(alice.messages("for all of you")).to_have_count(1)
    assert "bob to everyone" in carol.told("for all of you")
    here.cli("--as", "dave", "send", "--everyone", "from the command line")
    for one in (alice, bob):
        expect(one.messages("from the command line")).to_contain_text("dave")
    carol.told("from the command line")
    assert carol.count("only for") == 0


def test_a_message_appears_within_one_refresh_and_refreshes_leave_the_writer_alone(arrive: Arrive, here: Town) -> None:
    (erin,) = arrive("erin")
    here.cli("--as", "frank", "send", "erin", "good morning")
    erin.open("frank")
    composer = erin.composer("frank")
    composer.press_sequentially("half a sent")
    begun = erin.refreshes

    here.cli("--as", "frank", "send", "erin", "are you there?")
    taken = erin.refreshes
    expect(erin.messages("are you there?")).to_have_count(1)
    # One that was under way when the message came need not know of it; the next one does.
    assert erin.refreshes_until("are you there?") - taken <= 1

    erin.await_refresh(begun + 3)
    expect(composer).to_be_focused()
    expect(composer).to_have_value("half a sent")
    erin.page.keyboard.type("ence")
    expect(composer).to_have_value("half a sentence")


def test_what_others_write_is_shown_and_never_interpreted(arrive: Arrive, here: Town) -> None:
    (gina,) = arrive("gina")
    with bait() as server:
        texts = [
            "<b>bold</b>",
            f"![x]({server.url}/markdown.png)",
            f"<img src='{server.url}/html.png'>",
            f"[a link]({server.url}/link)",
            "$x^2$ :red[colour] :material/delete: **strong** `code`",
        ]
        for text in texts:
            here.cli("--as", "m_i_n_a", "send", "gina", text)
        here.cli("--as", "m_i_n_a", "send", "gina", "\x1b[31mred\x1b[0m \x1b]8;;http://x.example\x07click")
        expect(gina.page.locator(".st-key-to-m_i_n_a button")).to_contain_text("m_i_n_a")
        gina.open("m_i_n_a")
        expect(gina.page.get_by_role("heading", name="m_i_n_a", exact=True)).to_be_visible()
        for text in texts:
            expect(gina.page.get_by_text(text, exact=True)).to_be_visible()
        expect(gina.page.get_by_text("␛[31mred␛[0m ␛]8;;http://x.example␇click", exact=True)).to_be_visible()
        shown = gina.page.locator(".sc-text")
        expect(shown).to_have_count(len(texts) + 1)
        expect(shown.locator("*")).to_have_count(0)
        gina.await_refresh(gina.refreshes + 1)
        gina.page.evaluate("url => fetch(url)", f"{server.url}/asked-on-purpose")
        assert server.asked == ["/asked-on-purpose"]


def test_suites_are_chosen_and_shown_and_a_tab_that_is_closed_has_left(arrive: Arrive, here: Town, listen: Listen) -> None:
    kate = listen("kate", "--json")
    hugo, ines = arrive("hugo", "ines")
    hugo.open("kate")
    # Some seconds are given to a closed tab to come back: meanwhile, the others talk.
    ines.page.context.close()

    hugo.page.get_by_text("chunked", exact=True).click()
    text = "In blocks: " + "äöü€𝄞" * 40  # more bytes than two blocks hold
    hugo.write("kate", text)
    expect(hugo.messages(text)).to_contain_text("chunked · ✓✓ delivered")
    assert json.loads(kate.told("In blocks"))["suite"] == "chunked"
    assert json.loads(kate.told("In blocks"))["text"] == text

    composer, long = hugo.composer("kate"), "long " * 1700
    composer.fill(long)
    composer.press("Enter")
    expect(hugo.panel("The message is too long")).to_contain_text("Use the hybrid suite.")
    expect(composer).to_have_value(long)
    hugo.page.get_by_text("hybrid", exact=True).click()
    hugo.write("kate", "In one piece")
    expect(hugo.panel("The message is too long")).to_have_count(0)
    assert json.loads(kate.told("In one piece"))["suite"] == "hybrid"

    here.cli("--as", "jack", "send", "hugo", "--suite", "chunked", "In blocks, too")
    hugo.open("jack")
    expect(hugo.messages("In blocks, too")).to_contain_text("chunked")

    kate.told("ines left")
    hugo.open("everyone")
    expect(hugo.system("ines left")).to_have_count(1)
    assert kate.stop() == 143
    expect(hugo.system("kate left")).to_have_count(1)
    jack = listen("jack")
    hugo.press("Leave")
    jack.told("hugo left")
    expect(hugo.page.get_by_label("Your name")).to_have_value("hugo")


def test_each_conversation_keeps_its_draft(arrive: Arrive, listen: Listen) -> None:
    mona = listen("mona")
    (lars,) = arrive("lars")
    lars.open("mona")
    lars.composer("mona").press_sequentially("to mona")
    lars.open("everyone")
    lars.composer("everyone").press_sequentially("to all")
    lars.open("mona")
    expect(lars.composer("mona")).to_have_value("to mona")
    expect(lars.composer("everyone")).to_be_hidden()
    lars.page.keyboard.press("Enter")
    mona.told("lars: to mona")
    lars.open("everyone")
    expect(lars.composer("everyone")).to_have_value("to all")
