"""A real broker, the real page and a real Chromium, each in processes of its own."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright

from clients.chat import ChatClient
from core.address import BrokerAddress
from tests.broker_process import BrokerProcess
from tests.page_process import page_server

LIMIT = 60.0  # seconds: far more than anything here takes, on a machine that is busy with other things, too
HOW_TO_GET_ONE = "there is no Chromium here; get one with 'apt-get install chromium' or 'playwright install chromium'"

ARGUMENTS = [
    "--no-sandbox",  # it opens one page, of this very program, and a sandbox needs rights that containers lack
    "--disable-gpu",
    "--disable-dev-shm-usage",  # containers give it little
    "--disable-background-networking",
    "--no-first-run",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="package")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home folder of somebody who has used nothing yet."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def broker(home: Path, tmp_path: Path) -> Iterator[BrokerProcess]:
    """A running broker. Each test has one of its own, so nobody is there whom it did not invite."""
    with BrokerProcess(home, data=tmp_path / "data") as running:
        running.err.has("its address is")
        yield running


@pytest.fixture(scope="package")
def page_url(home: Path) -> Iterator[str]:
    """Where the page is; it finds each test's broker by itself."""
    with page_server(home) as url:
        yield url


def _chromium_path(playwright: Playwright) -> str:
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        if found := shutil.which(name):
            return found
    return playwright.chromium.executable_path


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """A browser; where there is none, the tests are skipped, unless SECURECHAT_REQUIRE_BROWSER says that there must be one."""
    with sync_playwright() as playwright:
        path = _chromium_path(playwright)
        if not Path(path).exists():
            if os.environ.get("SECURECHAT_REQUIRE_BROWSER") == "1":
                pytest.fail(HOW_TO_GET_ONE)
            pytest.skip(HOW_TO_GET_ONE)
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        expect.set_options(timeout=LIMIT * 1000)
        yield browser
        browser.close()


class Tabs:
    """Browser tabs, each of a browser profile of its own. None of them may ask anything of another host."""

    def __init__(self, chromium: Browser, url: str) -> None:
        self._chromium = chromium
        self._url = url
        self._contexts: list[BrowserContext] = []
        self.strangers: list[str] = []

    def open(self, *, width: int = 1100, height: int = 760, scheme: str = "light", url: str | None = None) -> Page:
        context = self._chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if scheme == "dark" else "light"
        )
        self._contexts.append(context)
        context.set_default_timeout(LIMIT * 1000)
        context.on("request", lambda request: self._note(request.url))
        page = context.new_page()
        page.add_init_script(_COUNT_REFRESHES)
        page.goto(url or self._url)
        return page

    def _note(self, url: str) -> None:
        local = url.split("://", 1)[-1].startswith("127.0.0.1:")
        if not local and not url.startswith(("data:", "blob:", "about:")):
            self.strangers.append(url)

    def join(self, name: str, **options: int | str) -> Page:
        """Open a tab, connect under a name and wait until that is done."""
        page = self.open(**options)  # type: ignore[arg-type]
        connect(page, name)
        expect(page.get_by_text("connected · guest", exact=True)).to_be_attached()
        return page

    def close(self) -> None:
        for context in self._contexts:
            context.close()


# Each refresh begins with a message from the component that keeps the time to the page around it.
_COUNT_REFRESHES = """
window.refreshes = 0;
window.addEventListener("message", (event) => {
  if (event.data?.type === "streamlit:setComponentValue") window.refreshes += 1;
});
"""


@pytest.fixture
def tabs(chromium: Browser, page_url: str, broker: BrokerProcess) -> Iterator[Tabs]:
    """Opens tabs of the page, and closes them."""
    opened = Tabs(chromium, page_url)
    try:
        yield opened
    finally:
        opened.close()
    assert opened.strangers == [], "the page asked other hosts for something"


class Bait(ThreadingHTTPServer):
    """A web server of this machine that remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Asked)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.asked: list[str] = []


class _Asked(BaseHTTPRequestHandler):
    server: Bait

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.send_response(204)
        self.send_header("Access-Control-Allow-Origin", "*")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def bait() -> Iterator[Bait]:
    """Something that a page would fetch if it took what others write for more than text."""
    with Bait() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def connect(page: Page, name: str) -> None:
    page.get_by_label("Your name").fill(name)
    page.get_by_role("button", name="Connect").click()


def refreshes(page: Page) -> int:
    return int(page.evaluate("window.refreshes"))


def wait_for_refreshes(page: Page, count: int) -> None:
    """Wait until the page has refreshed ``count`` times more from start to end: the next one has begun, too."""
    page.wait_for_function("wanted => window.refreshes >= wanted", arg=refreshes(page) + count + 1)


def write(page: Page, to: str, text: str) -> None:
    """Type into the composer of a conversation that is on the screen, and send."""
    composer = page.get_by_placeholder(f"Message {to}", exact=True)
    composer.fill(text)
    composer.press("Enter")


def choose(page: Page, name: str) -> None:
    """Put a conversation on the screen."""
    page.get_by_test_id("stSidebar").get_by_role("button", name=name).click()
    expect(page.get_by_placeholder(f"Message {name.lower()}", exact=True)).to_be_visible()


@pytest.fixture
def guest(broker: BrokerProcess) -> Iterator[GuestFactory]:
    """Makes guests without a page."""
    with ExitStack() as stack:
        yield GuestFactory(stack, broker.address)


@dataclass
class GuestFactory:
    """Connects guests that end with the test."""

    stack: ExitStack
    address: BrokerAddress

    def __call__(self, name: str) -> ChatClient:
        return self.stack.enter_context(ChatClient(name, self.address))
