"""Finding something again, and staying where one is, in a real browser."""

from __future__ import annotations

import os
import signal

from playwright.sync_api import Page, expect

from core.content import File
from core.events import MessageReceived
from core.names import EVERYONE
from tests.broker_process import BrokerProcess
from tests.browser.conftest import LIMIT, Answers, GuestFactory, Tabs, choose, connect, wait_for_refreshes
from tests.browser.test_files import attach, card, payload, submit
from tests.net import until

IN_SIGHT = """text => {
  const line = [...document.querySelectorAll('.sc-message')].find(one => one.innerText.includes(text));
  const box = line?.getBoundingClientRect();
  return Boolean(box) && box.top > 0 && box.bottom < window.innerHeight;
}"""

# As Streamlit does when a log has grown.
TO_THE_END = "document.querySelector('.stMain').scrollTo(0, document.querySelector('.stMain').scrollHeight)"


def search(page: Page, text: str) -> None:
    page.get_by_placeholder("Search, or a name to write to").fill(text)
    page.get_by_placeholder("Search, or a name to write to").press("Enter")


def test_what_was_found_is_shown_where_it_was_said(tabs: Tabs, guest: GuestFactory) -> None:
    page = tabs.join("alice")
    bob = guest("bob")
    expect(page.get_by_text("bob is here with you.")).to_be_visible()
    for number in range(80):
        bob.send(f"line {number}.", "alice")
    expect(page.get_by_test_id("stSidebar").get_by_role("button", name="bob")).to_contain_text("80")
    search(page, "LINE 7.")
    expect(page.get_by_text("“LINE 7.”")).to_be_visible()
    expect(page.get_by_placeholder("Message everyone")).to_be_hidden()  # nobody writes into what they do not see
    page.get_by_role("button", name="Show in bob").click()
    page.wait_for_function(IN_SIGHT, arg="line 7.")
    choose(page, "Everyone")
    search(page, "LINE 7.")
    page.get_by_role("button", name="Show in bob").click()
    expect(page.get_by_placeholder("Message bob", exact=True)).to_be_visible()
    page.wait_for_function(IN_SIGHT, arg="line 7.")
    page.evaluate(TO_THE_END)
    wait_for_refreshes(page, 2)
    page.wait_for_function(IN_SIGHT, arg="line 7.")
    expect(page.get_by_placeholder("Search, or a name to write to")).to_have_value("")

    search(page, "line")  # what is found begins with the newest, and the page with what is found
    expect(page.get_by_text("line 79.")).to_be_in_viewport()
    wait_for_refreshes(page, 2)
    expect(page.get_by_text("line 79.")).to_be_in_viewport()
    expect(page.get_by_role("button", name="Back to the conversation")).to_be_in_viewport()

    search(page, "nothing like this")
    expect(page.get_by_text("Nothing in what was said since you connected contains this.")).to_be_visible()
    page.get_by_role("button", name="Back to the conversation").click()
    expect(page.get_by_placeholder("Message bob", exact=True)).to_be_visible()

    search(page, "Walter")
    page.get_by_role("button", name="Write to walter").click()
    expect(page.get_by_placeholder("Message walter", exact=True)).to_be_visible()
    expect(page.get_by_text("If walter is a profile, the broker keeps what you write")).to_be_visible()


def test_a_search_field_keeps_text_and_focus_while_the_page_refreshes(tabs: Tabs, guest: GuestFactory) -> None:
    page = tabs.join("alice")
    field = page.get_by_placeholder("Search, or a name to write to")
    field.click()
    field.press_sequentially("half a w")
    bob = guest("bob")
    expect(page.get_by_text("bob is here with you.")).to_be_visible()
    until(lambda: bool(bob.users()))
    bob.send("meanwhile", EVERYONE)
    expect(page.get_by_text("meanwhile")).to_be_visible()
    wait_for_refreshes(page, 3)
    expect(field).to_have_value("half a w")
    expect(field).to_be_focused()


NOTE_HEADS = """() => {
  const head = () => document.querySelector(".st-key-head").innerText;
  window.heads = [head()];
  const note = () => window.heads.at(-1) === head() || window.heads.push(head());
  new MutationObserver(note).observe(document.body, { subtree: true, childList: true, characterData: true });
}"""


def test_a_search_that_is_left_does_not_come_back_with_a_refresh(tabs: Tabs) -> None:
    """The refresh was sent before its answer to the click had come, so it tells of the field as it was."""
    page = tabs.open()
    answers = Answers(page)
    page.reload()
    connect(page, "alice")
    search(page, "Walter")
    write = page.get_by_role("button", name="Write to walter")
    expect(write).to_be_visible()
    page.evaluate(NOTE_HEADS)
    answers.hold()
    write.click()
    wait_for_refreshes(page, 1)
    answers.let_go()
    wait_for_refreshes(page, 1)
    expect(page.get_by_placeholder("Message walter", exact=True)).to_be_visible()
    searching, *since = page.evaluate("window.heads")
    assert "“Walter”" in searching
    assert since
    assert "“Walter”" not in "".join(since)
    expect(page.get_by_placeholder("Search, or a name to write to")).to_have_value("")


HOLD_SCRIPTS = """
const make = URL.createObjectURL;
URL.createObjectURL = (what) => {
  if (!what.type?.includes("javascript")) return make(what);
  return make(new Blob(["await new Promise((go) => { window.letScriptsRun = go; });\\n", what], { type: what.type }));
};
"""


def before_its_script(tabs: Tabs, *, width: int = 1100) -> Page:
    """A tab that is connected and drawn, in which the page's script has yet to begin, as on a slow machine."""
    page = tabs.open(width=width)
    page.add_init_script(HOLD_SCRIPTS)
    page.reload()
    connect(page, "alice")
    expect(page.get_by_text("connected · guest", exact=True)).to_be_attached()
    page.wait_for_function("() => Boolean(window.letScriptsRun)")
    return page


def let_it_run(page: Page) -> None:
    assert page.evaluate("document.securechat === undefined")
    page.evaluate("window.letScriptsRun()")
    page.wait_for_function("document.securechat")
    wait_for_refreshes(page, 1)


def test_a_search_that_is_begun_before_the_page_is_ready_is_not_interrupted(tabs: Tabs) -> None:
    page = before_its_script(tabs)
    field = page.get_by_placeholder("Search, or a name to write to")
    field.click()
    let_it_run(page)
    page.keyboard.type("half a w")
    expect(field).to_have_value("half a w")


def test_a_list_that_is_opened_on_a_phone_before_the_page_is_ready_stays_open(tabs: Tabs) -> None:
    page = before_its_script(tabs, width=390)
    page.get_by_test_id("stExpandSidebarButton").click()
    let_it_run(page)
    choose(page, "Everyone")


def test_an_upload_is_stopped_goes_on_and_stays_in_sight(tabs: Tabs, broker: BrokerProcess, guest: GuestFactory) -> None:
    page = tabs.join("alice")
    bob = guest("bob")
    expect(page.get_by_text("bob is here with you.")).to_be_visible()
    for number in range(30):
        bob.send(f"line {number}.", "alice")
    choose(page, "bob")
    expect(page.get_by_text("line 29.")).to_be_visible()
    broker.process.send_signal(signal.SIGSTOP)  # so that no upload ends before somebody has looked at it
    attach(page, "bob", payload("report.bin", os.urandom(100_000)))
    submit(page)
    report = card(page, "report.bin")
    report.get_by_role("button", name="Stop").click()
    expect(report).to_contain_text("You stopped it, so nothing was sent.")
    expect(report.get_by_role("button", name="Dismiss")).to_be_in_viewport(ratio=1)
    wait_for_refreshes(page, 1)
    expect(report).to_contain_text("You stopped it, so nothing was sent.")
    broker.process.send_signal(signal.SIGCONT)
    report.get_by_role("button", name="Try again").click()
    expect(report).to_contain_text("delivered")
    names = (one.message.content for one in bob.events(LIMIT) if isinstance(one, MessageReceived))
    assert [name.name for name in [next(names)] if isinstance(name, File)] == ["report.bin"]
