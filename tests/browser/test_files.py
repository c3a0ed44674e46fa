"""Files on the page, in a real browser: attached, fetched, saved, shown, and refused."""

from __future__ import annotations

import itertools
import os
import re
import struct
import zlib
from hashlib import sha256
from pathlib import Path

from playwright.sync_api import FilePayload, Locator, Page, expect
from streamlit.runtime.media_file_storage import MediaFileKind
from streamlit.runtime.memory_media_file_storage import MemoryMediaFileStorage

from core.content import File
from core.events import MessageReceived
from tests.broker_process import BrokerProcess
from tests.browser.conftest import LIMIT, Answers, GuestFactory, Tabs, Visitors, choose, connect, wait_for_refreshes
from tests.page_process import page_server


def gradient(width: int, height: int) -> bytes:
    """The rows of a PNG in colours."""
    return b"".join(
        b"\0" + b"".join(bytes((255 * x // width, 255 * y // height, 160)) for x in range(width)) for y in range(height)
    )


def png(width: int, height: int, grey: bytes = b"") -> bytes:
    """A picture with a gradient, or of these ``grey`` rows."""
    rows = grey or gradient(width, height)
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if grey else 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def attach(page: Page, to: str, *files: FilePayload) -> Locator:
    """Attach files to what is written to somebody; returns the composer."""
    composer = page.get_by_placeholder(f"Message {to}", exact=True)
    field = page.get_by_test_id("stChatInput").filter(has=composer)
    field.locator("input[type=file]").set_input_files(files)
    expect(field.get_by_role("button", name="Remove")).to_have_count(len(files))
    return composer


def submit(page: Page) -> None:
    """Send what is in the composer on the screen, once its files have come to the page's server."""
    page.get_by_role("button", name="Send message").filter(visible=True).click()


def payload(name: str, content: bytes) -> FilePayload:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": content}


def card(page: Page, name: str) -> Locator:
    """The card of a file. For a moment there are two, that of its upload and that of what was sent."""
    return page.locator('[class*="st-key-card-"]').filter(has_text=name).first


def save(page: Page, name: str) -> bytes:
    with page.expect_download() as started:
        card(page, name).get_by_role("button", name="Save").click()
    assert started.value.suggested_filename == re.sub("[<>]", "_", name)  # which Chromium does itself
    content = Path(started.value.path()).read_bytes()
    kind = "application/octet-stream"
    assert_not_foretold(started.value.url, content, [kind, f"{kind}; sha256={sha256(content).hexdigest()}"], name)
    return content


def assert_not_foretold(url: str, content: bytes, kinds: list[str], name: str = "") -> None:
    """A file's sender does not know its address, from which they could be told that it was looked at."""
    store = MemoryMediaFileStorage("/media")
    for kind, known in itertools.product(kinds, (None, "", name, sha256(content).hexdigest())):
        guess = store.get_url(store.load_and_get_id(content, kind, MediaFileKind.MEDIA, known))
        assert not url.endswith(guess)


def test_what_one_page_attaches_another_saves(tabs: Tabs) -> None:
    alice, bob = tabs.join("alice"), tabs.join("bob")
    content = os.urandom(3_000_000)
    choose(alice, "bob")
    composer = attach(alice, "bob", payload("Größe & <b>.bin", content), payload("notes.txt", b"read me"))
    composer.fill("two files")
    submit(alice)
    expect(card(alice, "Größe & <b>.bin")).to_contain_text("delivered")
    expect(card(alice, "notes.txt")).to_contain_text("delivered")
    expect(bob.get_by_test_id("stSidebar").get_by_role("button", name="alice")).to_contain_text("3")
    choose(bob, "alice")
    expect(bob.locator(".sc-text")).to_have_text(["two files"])
    big = card(bob, "Größe & <b>.bin")
    expect(big).to_contain_text("3.0 MB")
    big.get_by_role("button", name="Get").click()
    assert save(bob, "Größe & <b>.bin") == content
    card(bob, "notes.txt").get_by_role("button", name="Get").click()
    assert save(bob, "notes.txt") == b"read me"
    card(alice, "notes.txt").get_by_role("button", name="Get").click()  # one's own, too
    assert save(alice, "notes.txt") == b"read me"


def test_what_is_pressed_stays_under_the_pointer(tabs: Tabs, guest: GuestFactory) -> None:
    """Also before all is drawn, when Streamlit still keeps the button that was pressed before it."""
    page = tabs.open()
    answers = Answers(page)
    page.reload()
    connect(page, "alice")
    guest("bob")
    choose(page, "bob")
    attach(page, "bob", payload("notes.txt", b"read me"))
    submit(page)
    get = card(page, "notes.txt").get_by_role("button", name="Get")
    expect(get).to_be_visible()
    answers.endless = True
    get.click()
    assert save(page, "notes.txt") == b"read me"
    expect(page.locator("[data-retained]").filter(has_text="Get")).to_be_attached()
    answers.endless = False
    expect(page.locator("[data-retained]")).to_have_count(0)


def test_a_picture_is_shown_by_the_browser_and_what_only_claims_to_be_one_is_not(tabs: Tabs) -> None:
    alice, bob = tabs.join("alice"), tabs.join("bob")
    expect(alice.get_by_text("bob is here with you.")).to_be_visible()
    picture, fake = png(320, 200), b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    files = (
        payload("sunset.png", picture),
        payload("fake.png", fake),
        payload("drawing.svg", fake),
        payload("giant.png", png(9000, 9000, b"\0" * 9001 * 9000)),
    )
    attach(alice, "everyone", *files)
    submit(alice)
    for page in (alice, bob):
        image = card(page, "sunset.png").locator("img")
        expect(image).to_be_visible()
        page.wait_for_function("document.querySelector('.sc-picture img').naturalWidth === 320")
        expect(card(page, "fake.png").get_by_role("button", name="Save")).to_be_visible()
        expect(card(page, "giant.png").get_by_role("button", name="Save")).to_be_visible()
        expect(card(page, "drawing.svg").get_by_role("button", name="Get")).to_be_visible()
        expect(page.locator(".st-key-log img")).to_have_count(1)
    address = str(bob.locator(".sc-picture img").get_attribute("src"))
    assert "/media/" in address
    assert_not_foretold(address, picture, ["image/png"], "sunset.png")
    wait_for_refreshes(bob, 2)
    choose(bob, "alice")
    choose(bob, "Everyone")  # a run of the whole page, which lets go of what it does not draw
    wait_for_refreshes(bob, 2)
    expect(bob.locator(".sc-picture img")).to_have_attribute("src", address)  # another one would flicker
    bob.evaluate("fetch(document.querySelector('.sc-picture img').src).then(answer => { window.answer = answer.status })")
    bob.wait_for_function("window.answer === 200")
    assert save(bob, "sunset.png") == picture
    assert save(bob, "fake.png") == fake


def test_a_file_that_cannot_be_fetched_or_sent_says_why(tabs: Tabs, guest: GuestFactory) -> None:
    page = tabs.join("alice")
    bob = guest("bob")
    lost = File("lost.pdf", 1234, bytes(32), bytes(32), os.urandom(16))
    bob.send(lost, "alice")
    choose(page, "bob")
    card(page, "lost.pdf").get_by_role("button", name="Get").click()
    expect(card(page, "lost.pdf")).to_contain_text("The broker does not have lost.pdf, or no longer.")

    hidden = "invoice\u202efdp.exe"
    attach(page, "bob", payload(hidden, b"x"), payload("good.txt", b"y"))
    submit(page)
    refused = card(page, "invoice")
    expect(refused).to_contain_text("cannot be a file's name here")
    expect(refused.get_by_role("button", name="Try again")).to_have_count(0)
    expect(card(page, "good.txt")).to_contain_text("delivered")
    refused.get_by_role("button", name="Dismiss").click()
    expect(refused).to_have_count(0)
    received = (event.message.content for event in bob.events(LIMIT) if isinstance(event, MessageReceived))
    content = next(received)
    assert isinstance(content, File)
    assert (content.name, content.size) == ("good.txt", 1)


def test_the_servers_end_leaves_no_file_behind(
    visitors: Visitors, broker: BrokerProcess, home: Path, tmp_path: Path, guest: GuestFactory
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    with Tabs(visitors, "") as tabs:
        with page_server(home, TMPDIR=str(kept)) as url:
            page = tabs.join("alice", url=url)
            guest("bob").send(File("lost.pdf", 1234, bytes(32), bytes(32), os.urandom(16)), "alice")
            choose(page, "bob")
            card(page, "lost.pdf").get_by_role("button", name="Get").click()
            expect(card(page, "lost.pdf")).to_contain_text("The broker does not have lost.pdf, or no longer.")
            assert [path.name.startswith("securechat-page-") for path in kept.iterdir()] == [True]
        assert list(kept.iterdir()) == []


def test_files_of_a_text_that_is_refused_wait_until_it_is_tried_again(tabs: Tabs, guest: GuestFactory) -> None:
    page = tabs.join("alice")
    composer = attach(page, "everyone", payload("plan.txt", b"plan"))
    composer.fill("anybody?")
    submit(page)
    expect(card(page, "plan.txt")).to_contain_text("Nobody else is connected, so nothing was sent.")
    expect(composer).to_have_value("anybody?")
    bob = guest("bob")
    expect(page.get_by_text("bob is here with you.")).to_be_visible()
    submit(page)
    card(page, "plan.txt").get_by_role("button", name="Try again").click()
    expect(card(page, "plan.txt")).to_contain_text("delivered")
    expect(page.get_by_role("button", name="Dismiss")).to_have_count(0)
    messages = (event.message.content for event in bob.events(LIMIT) if isinstance(event, MessageReceived))
    assert [type(next(messages)).__name__ for _ in range(2)] == ["Text", "File"]
