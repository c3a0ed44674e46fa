"""The page as people use it: in a real browser, with a real broker, and with somebody on the command line."""

from __future__ import annotations

import re
import signal
from typing import Final

import pytest
from playwright.sync_api import Locator, expect

from clients.chat import ChatClient
from clients.view import text_of
from core.content import File
from core.events import MessageReceived, RosterChanged
from tests.broker_process import BrokerProcess, cli, listening
from tests.browser.conftest import (
    LIMIT,
    Answers,
    Bait,
    GuestFactory,
    Tabs,
    choose,
    connect,
    refreshes,
    wait_for_refreshes,
    write,
)


def test_two_people_on_the_page_and_one_on_the_command_line(tabs: Tabs, broker: BrokerProcess) -> None:
    alice = tabs.join("alice")
    expect(alice.get_by_text("securechat-cli --as carol send alice")).to_be_visible()
    bob = tabs.join("bob")
    expect(alice.locator(".st-key-log")).to_contain_text("bob joined")

    choose(alice, "bob")
    write(alice, "bob", "for you alone")
    expect(alice.locator(".sc-mine")).to_contain_text("✓✓ delivered")
    expect(bob.get_by_test_id("stSidebar").get_by_role("button", name="alice")).to_contain_text("1")
    expect(bob).to_have_title("(1) SecureChat")
    choose(bob, "alice")
    expect(bob.locator(".sc-theirs")).to_contain_text("for you alone")
    expect(bob).to_have_title("SecureChat")
    choose(bob, "Everyone")
    expect(bob.get_by_text("for you alone")).to_have_count(0)

    with listening(broker.env, "carol", "-n", "2") as carol:
        expect(alice.get_by_test_id("stSidebar").get_by_role("button", name="carol")).to_be_visible()
        choose(alice, "Everyone")
        write(alice, "everyone", "hello to all")
        carol.out.has("alice to everyone: hello to all")
        expect(bob.locator(".st-key-log")).to_contain_text("hello to all")
        choose(alice, "carol")
        write(alice, "carol", "and to you")
        carol.out.has("alice: and to you")
    choose(alice, "Everyone")
    expect(alice.locator(".st-key-log")).to_contain_text("carol left")

    sent = cli(broker.env, "--as", "dave", "send", "alice", "from a terminal")
    assert sent.code == 0, sent.err
    choose(alice, "dave")
    expect(alice.locator(".sc-theirs")).to_contain_text("from a terminal")
    expect(alice.locator(".st-key-head")).to_contain_text("not here now")


def test_a_message_appears_with_the_next_refresh(tabs: Tabs, guest: GuestFactory) -> None:
    page = tabs.join("frank")
    grace = guest("grace")
    expect(page.get_by_test_id("stSidebar").get_by_role("button", name="grace")).to_be_visible()
    outcome = grace.wait_sent(grace.send("now", "everyone"), LIMIT, stored=False)
    assert outcome == {"frank": "delivered"}
    before = refreshes(page)
    shown = page.wait_for_function("document.querySelector('.st-key-log')?.innerText.includes('now') && window.refreshes")
    assert shown.json_value() <= before + 2  # one may have been under way already


def test_half_typed_text_and_focus_survive_refreshes(tabs: Tabs, guest: GuestFactory) -> None:
    page = tabs.join("heidi")
    ivan = guest("ivan")
    expect(page.get_by_test_id("stSidebar").get_by_role("button", name="ivan")).to_be_visible()
    composer = page.get_by_placeholder("Message everyone")
    composer.press_sequentially("half a ")
    ivan.send("something that changes the log", "everyone")
    wait_for_refreshes(page, 3)
    expect(page.locator(".sc-theirs")).to_contain_text("something that changes the log")
    expect(composer).to_be_focused()
    page.keyboard.type("sentence")
    expect(composer).to_have_value("half a sentence")
    composer.press("Enter")
    expect(page.locator(".sc-mine")).to_contain_text("half a sentence")
    expect(composer).to_be_focused()
    expect(composer).to_have_value("")


def test_each_conversation_keeps_its_draft(tabs: Tabs, guest: GuestFactory) -> None:
    page = tabs.join("judy")
    mallory = guest("mallory.x")  # a name whose dot no style sheet may trip over
    expect(page.get_by_test_id("stSidebar").get_by_role("button", name="mallory")).to_be_visible()
    page.get_by_placeholder("Message everyone").fill("to all")
    choose(page, "mallory.x")
    mine = page.get_by_placeholder("Message mallory.x")
    expect(mine).to_be_focused()
    mine.fill("to one")
    choose(page, "Everyone")
    wait_for_refreshes(page, 1)
    expect(page.get_by_placeholder("Message everyone")).to_have_value("to all")
    expect(mine).to_be_hidden()
    choose(page, "mallory.x")
    expect(mine).to_have_value("to one")
    mine.press("Enter")
    received = next(event for event in mallory.events(LIMIT) if isinstance(event, MessageReceived))
    assert text_of(received.message.content) == "to one"
    assert not received.message.everyone


def test_text_from_others_is_shown_and_never_interpreted(tabs: Tabs, guest: GuestFactory, bait: Bait) -> None:
    page = tabs.join("niaj")
    olivia = guest("olivia")
    expect(page.get_by_test_id("stSidebar").get_by_role("button", name="olivia")).to_be_visible()
    texts = {
        f"<b>bold</b> <img src='{bait.url}/html.png' onerror=alert(1)> &lt;i&gt;": None,
        f"![x]({bait.url}/markdown.png) [here]({bait.url}/link) **strong** `code`": None,
        "</div></div><style>body{display:none}</style><script>document.title='x'</script>": None,
        "one\n    two  three\n\n\tfour": None,
        "\x1b[31mred\x1b[0m \x07 \u202eright to left": "␛[31mred␛[0m ␇ \ufffdright to left",
        "https://example.com/ :smile: $x^2$ :red[no]": None,
    }
    for text in texts:
        olivia.send(text, "niaj")
    choose(page, "olivia")
    shown = page.locator(".sc-theirs .sc-text")
    expect(shown).to_have_count(len(texts))
    assert [node.text_content() for node in shown.all()] == [becomes or text for text, becomes in texts.items()]
    for node in shown.all():
        assert node.locator("*").count() == 0
    assert "white-space: pre-wrap" in shown.first.evaluate("node => `white-space: ${getComputedStyle(node).whiteSpace}`")
    assert page.locator(".st-key-log a, .st-key-log img, .st-key-log script").count() == 0
    page.evaluate("url => fetch(url)", f"{bait.url}/on-purpose")  # what it looks like when something is asked for
    assert bait.asked == ["/on-purpose"]


@pytest.mark.parametrize("name", ["www.evil.example", "www.a--b_c_.example", "a_b--c"])
def test_a_name_is_shown_and_never_interpreted(tabs: Tabs, guest: GuestFactory, name: str) -> None:
    page = tabs.join("sally")
    guest(name)
    row = page.get_by_test_id("stSidebar").get_by_role("button").filter(has_text="●").last
    assert shown(row).endswith(name)
    row.click()
    page.locator(".st-key-verify button").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator(".st-key-block-compared button")).to_be_visible()
    assert shown(dialog.locator(".st-key-block-compared button")) == f"Block {name}"
    assert shown(dialog).startswith(f"Verify {name}\n")
    assert page.locator("[role=dialog] a, [data-testid=stSidebar] a, .stMain a").count() == 0


FILE_NAMES: Final = (
    "www.evil.example",
    "a@evil.example",
    ":material_home: :streamlit: :smile: :red[no] :x",
    "a -- b -> c <-> d >= e",
    "“Größe” § 5 €, **b** _i_ `c` $x^2$ ~~s~~ <b> &amp; [l](x) ![i](x)",
)


@pytest.mark.parametrize("name", FILE_NAMES)
def test_a_files_name_is_shown_and_never_interpreted(tabs: Tabs, guest: GuestFactory, name: str) -> None:
    page = tabs.join("sally")
    sender = guest("sender")
    expect(page.get_by_text("sender is here with you.")).to_be_visible()
    sender.send(File(name, 4, bytes(32), bytes(32), bytes(16)), "sally")
    choose(page, "sender")
    wait_for_refreshes(page, 1)  # until all stands in its place: nothing tells a button that moves under the pointer
    page.get_by_role("button", name="Get").hover()
    tip = page.get_by_test_id("stTooltipContent")
    expect(tip).to_be_visible()
    assert shown(tip) == f"Fetch {name}"
    assert tip.locator("a, img, [role=img], code, strong, em, del, .katex").count() == 0
    assert page.locator(".stMain a").count() == 0


def shown(place: Locator) -> str:
    """What somebody reads there: a word joiner is not seen."""
    return place.inner_text().replace("\u2060", "").strip()


def test_long_texts_are_folded_and_long_logs_shown_from_their_end(tabs: Tabs, guest: GuestFactory) -> None:
    page = tabs.join("peggy")
    quentin = guest("quentin")
    expect(page.get_by_test_id("stSidebar").get_by_role("button", name="quentin")).to_be_visible()
    for number in range(80):
        quentin.send(f"line {number}.", "peggy")
    long = "\n".join(f"row {number}" for number in range(300))
    quentin.send(long, "peggy")
    choose(page, "quentin")
    folded = page.locator(".sc-theirs").last
    expect(folded).to_contain_text("Show all")
    expect(folded.get_by_text("row 299")).to_be_hidden()
    expect(page.locator(".st-key-log")).not_to_contain_text("line 5.")
    assert (
        page.evaluate("(() => { const m = document.querySelector('.stMain'); return m.scrollHeight - m.clientHeight; })()") > 0
    )
    folded.get_by_text("Show all").click()
    wait_for_refreshes(page, 2)
    expect(folded.get_by_text("row 299")).to_be_visible()  # a refresh does not fold it again
    assert "".join(node.text_content() or "" for node in folded.locator(".sc-text").all()) == long
    page.get_by_role("button", name="Load older").click()
    expect(page.locator(".st-key-log")).to_contain_text("line 5.")


def test_a_name_that_is_refused_late_is_changed_and_what_was_typed_is_kept(
    tabs: Tabs, guest: GuestFactory, broker: BrokerProcess
) -> None:
    guest("rupert")
    page = tabs.open()
    broker.process.send_signal(signal.SIGSTOP)  # until the page waits for an answer no longer, and shows the chat
    connect(page, " Rupert ")
    composer = page.get_by_placeholder("Message everyone")
    expect(composer).to_be_focused()
    broker.process.send_signal(signal.SIGCONT)
    expect(page.get_by_text("The name 'rupert' is in use by somebody else, or belongs to a profile.")).to_be_visible()
    name = page.get_by_label("Your name")
    expect(name).to_be_focused()
    expect(name).to_have_value("rupert")
    expect(page.get_by_text("names are lower-case")).to_be_visible()
    composer.fill("do not lose me")
    name.fill("not a name")
    page.get_by_role("button", name="Connect").click()
    expect(page.get_by_text("'not a name' is not a username.")).to_be_visible()
    connect(page, "rupert2")
    expect(page.get_by_text("rupert is here with you.")).to_be_visible()
    expect(composer).to_have_value("do not lose me")


def test_the_suite_is_chosen_and_shown(tabs: Tabs, guest: GuestFactory) -> None:
    page = tabs.join("sybil")
    trent = guest("trent")
    choose(page, "trent")
    write(page, "trent", "first")
    expect(page.locator(".sc-mine").first).to_contain_text("delivered")
    expect(page.locator(".sc-mine").first).not_to_contain_text("hybrid")
    page.get_by_text("Encryption: hybrid").click()
    page.get_by_text("chunked", exact=True).click()
    expect(page.get_by_text("Encryption: chunked")).to_be_visible()
    wait_for_refreshes(page, 1)
    write(page, "trent", "second")
    expect(page.locator(".sc-mine").last).to_contain_text("chunked")
    messages = (event.message for event in trent.events(LIMIT) if isinstance(event, MessageReceived))
    assert [next(messages).suite.value for _ in range(2)] == ["hybrid", "chunked"]

    too_long = "x" * 9000
    write(page, "trent", too_long)
    expect(page.get_by_text("chunked messages hold at most 8172")).to_be_visible()
    expect(page.get_by_placeholder("Message trent")).to_have_value(too_long)
    page.get_by_text("hybrid", exact=True).click()
    expect(page.get_by_text("Encryption: hybrid")).to_be_visible()
    page.get_by_placeholder("Message trent").press("Enter")
    assert text_of(next(messages).content) == too_long


def test_a_closed_tab_says_goodbye_and_a_reloaded_one_gets_its_name_back(tabs: Tabs, guest: GuestFactory) -> None:
    victor = guest("victor")
    page = tabs.join("walter")
    first = kid_of(victor, "walter")
    page.reload()
    expect(page.get_by_label("Your name")).to_have_value("walter")
    page.get_by_role("button", name="Connect").click()
    expect(page.get_by_text("victor is here with you.")).to_be_visible()
    assert kid_of(victor, "walter") != first
    page.close()
    changes = (event for event in victor.events(LIMIT) if isinstance(event, RosterChanged))
    departures = (entry.user for change in changes for entry in change.left)
    assert [next(departures), next(departures)] == ["walter", "walter"]
    assert victor.users() == ()


def kid_of(client: ChatClient, user: str) -> bytes:
    return next(peer.kid for peer in client.users() if peer.user == user)


def test_it_can_be_used_at_the_width_of_a_phone(tabs: Tabs, guest: GuestFactory) -> None:
    guest("xavier")
    page = tabs.join("yvonne", width=390, height=780, scheme="dark")
    assert page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    light, dark = (255 * 3, 0)
    colour = page.locator(".stApp").evaluate("node => getComputedStyle(node).backgroundColor")
    total = sum(int(part) for part in re.findall(r"\d+", colour)[:3])
    assert dark <= total < light / 3
    page.get_by_test_id("stExpandSidebarButton").click()
    choose(page, "xavier")
    expect(page.get_by_test_id("stSidebar")).to_have_attribute("data-collapsed", "true")
    write(page, "xavier", "wide " * 60 + "w" * 300)
    expect(page.locator(".sc-mine")).to_contain_text("delivered")
    assert page.evaluate("document.querySelector('.stMain').scrollWidth <= innerWidth")
    expect(page.get_by_placeholder("Message xavier")).to_be_in_viewport()
    expect(page.locator(".st-key-head")).to_be_in_viewport()


def test_what_is_new_elsewhere_is_within_reach_of_a_thumb(tabs: Tabs, guest: GuestFactory) -> None:
    page = tabs.join("yvonne", width=390, height=780)
    for name in ("adam", "bert", "carl"):
        guest(name).send("psst", "yvonne")
    there = page.locator(".st-key-elsewhere").get_by_role("button")
    expect(there).to_contain_text(", and in 2 more")
    head = page.locator(".st-key-head").bounding_box()
    assert head
    assert head["height"] < 130
    there.click()
    expect(page.locator(".sc-theirs")).to_contain_text("psst")


def test_a_long_name_hides_nothing_that_stands_beside_it(tabs: Tabs, guest: GuestFactory) -> None:
    page = tabs.join("zoe")
    name = "a-name-that-is-as-long-as-it-may"
    guest(name).send("for you", "zoe")
    row = page.locator(f".st-key-to-{name}")
    expect(row.locator(".stMarkdownBadge")).to_have_text("1")
    assert row.evaluate(
        """row => {
          const inside = row.querySelector("button").getBoundingClientRect();
          const count = row.querySelector(".stMarkdownBadge").getBoundingClientRect();
          return count.left > inside.left && count.right < inside.right && count.width > 0;
        }"""
    )


def test_a_short_conversation_stands_beside_where_one_writes(tabs: Tabs, guest: GuestFactory) -> None:
    page = tabs.join("zoe")
    guest("bob").send("for you", "zoe")
    choose(page, "bob")
    said, writing = page.locator(".sc-theirs").bounding_box(), page.get_by_placeholder("Message bob").bounding_box()
    assert said
    assert writing
    assert 0 < writing["y"] - said["y"] - said["height"] < 120


def test_with_many_people_what_stands_below_them_stays_in_reach(tabs: Tabs, guest: GuestFactory) -> None:
    page = tabs.join("zoe")
    for number in range(20):
        guest(f"guest{number:02}")
    sidebar = page.get_by_test_id("stSidebar")
    expect(sidebar.get_by_role("button", name="guest19")).to_be_attached()
    expect(sidebar.get_by_role("button", name="Leave")).to_be_in_viewport(ratio=1)
    sidebar.get_by_role("button", name="guest19").click()
    expect(page.get_by_placeholder("Message guest19", exact=True)).to_be_visible()


def test_keys_reach_what_can_be_seen_and_nothing_else(tabs: Tabs) -> None:
    page = tabs.join("zoe")
    expect(page.locator(".st-key-refresh iframe")).to_be_attached()
    page.get_by_test_id("stSidebarCollapseButton").get_by_role("button").focus()
    expect(page.get_by_test_id("stSidebarCollapseButton")).to_be_visible()
    for _ in range(20):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.tagName") != "IFRAME"


def test_what_streamlit_lost_of_a_drawing_is_drawn_again(tabs: Tabs, guest: GuestFactory) -> None:
    """As it does with the end of one, where a refresh comes in before it is sent."""
    page = tabs.open()
    answers = Answers(page)
    page.reload()
    connect(page, "trudy")
    bob = guest("bob")
    answers.cut = b"Message bob"
    choose(page, "bob")
    assert answers.cut is None
    write(page, "bob", "nothing was lost")
    expect(page.locator(".sc-mine")).to_contain_text("delivered")
    message = next(event.message for event in bob.events(LIMIT) if isinstance(event, MessageReceived))
    assert text_of(message.content) == "nothing was lost"
    answers.cut = b'aria-label="Safety number"'
    page.get_by_role("button", name="Verify").click()
    expect(page.get_by_label("Safety number")).to_be_visible()
    assert answers.cut is None
    drawn = page.locator(".sc-drawing").get_attribute("data-number")
    wait_for_refreshes(page, 3)
    assert page.locator(".sc-drawing").get_attribute("data-number") == drawn, "nothing is lost any more"
