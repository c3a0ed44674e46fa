"""A real broker, the real page and a real Chromium, each in processes of its own."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, WebSocketRoute, expect, sync_playwright
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

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
    for name in ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        if found := shutil.which(name):
            return found
    return playwright.chromium.executable_path


class Visitors:
    """People at browsers of their own, who have been on the page before: so its scripts are read and compiled once for each."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []

    def __getitem__(self, number: int) -> BrowserContext:
        while number >= len(self._contexts):
            context = self._browser.new_context()
            context.set_default_timeout(LIMIT * 1000)
            for script in (_AS_NEW, _OFTEN, _COUNT_REFRESHES):
                context.add_init_script(script)
            self._contexts.append(context)
        return self._contexts[number]


@pytest.fixture(scope="package")
def visitors() -> Iterator[Visitors]:
    """Where there is no browser, the tests are skipped, unless SECURECHAT_REQUIRE_BROWSER says that there must be one."""
    with sync_playwright() as playwright:
        path = _chromium_path(playwright)
        if not Path(path).exists():
            if os.environ.get("SECURECHAT_REQUIRE_BROWSER") == "1":
                pytest.fail(HOW_TO_GET_ONE)
            pytest.skip(HOW_TO_GET_ONE)
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        expect.set_options(timeout=LIMIT * 1000)
        yield Visitors(browser)
        browser.close()


# What the page has put down in the browser for later is not of this test.
_AS_NEW = """
if (window === top && location.protocol === "http:" && !sessionStorage.seen) {
  localStorage.clear();
  sessionStorage.seen = 1;
}
"""

# No test has to wait for two seconds to pass: the component that keeps the time does so twice as often. This runs
# before its frame has gone there.
_OFTEN = """
for (const name of ["setTimeout", "setInterval"]) {
  const set = window[name];
  const often = () => location.pathname.includes("streamlit_autorefresh");
  window[name] = (run, ms, ...more) => set(run, often() ? Math.min(ms, 1000) : ms, ...more);
}
"""

# Each refresh begins with a message from the component that keeps the time to the page around it.
_COUNT_REFRESHES = """
window.refreshes = 0;
window.addEventListener("message", (event) => {
  if (event.data?.type === "streamlit:setComponentValue") window.refreshes += 1;
});
"""


class Tabs:
    """Browser tabs, each of another visitor. None of them may ask anything of another host."""

    def __init__(self, visitors: Visitors, url: str) -> None:
        self._visitors = visitors
        self._url = url
        self._pages: list[Page] = []
        self.strangers: list[str] = []

    def open(self, *, width: int = 1100, height: int = 760, scheme: str = "light", url: str | None = None) -> Page:
        page = self._visitors[len(self._pages)].new_page()
        self._pages.append(page)
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        page.on("request", lambda request: self._note(request.url))
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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for page in self._pages:
            page.close()
        if kind is None:
            assert self.strangers == [], "the page asked other hosts for something"


class Answers:
    """What the server says to a tab from the next time on that it is loaded; the tab goes on saying what it has to.

    It is passed on, unless it is held back. If ``cut`` is said, it is lost, and all that follows of the same drawing; that one
    has come to its end is lost if they are ``endless``. What either says goes on its way only while the test waits for the
    page: whoever waits for something else has to wait for the page first.
    """

    def __init__(self, page: Page) -> None:
        self.cut: bytes | None = None
        self.endless = False
        self._losing = False
        self._held: list[tuple[WebSocketRoute, bytes]] | None = None
        page.route_web_socket(re.compile("/_stcore/stream"), self._connect)

    def _connect(self, there: WebSocketRoute) -> None:
        server = there.connect_to_server()
        there.on_message(server.send)
        server.on_message(lambda what: self._pass(there, what))

    def _pass(self, there: WebSocketRoute, what: str | bytes) -> None:
        assert isinstance(what, bytes)
        kind = ForwardMsg.FromString(what).WhichOneof("type")
        if kind == "new_session":
            self._losing = False
        if self.cut and self.cut in what:
            self.cut, self._losing = None, True
        if self._losing or (self.endless and kind == "script_finished"):
            return
        if self._held is not None:
            self._held.append((there, what))
        else:
            there.send(what)

    def hold(self) -> None:
        self._held = []

    def let_go(self) -> None:
        held, self._held = self._held or [], None
        for there, what in held:
            there.send(what)


@pytest.fixture
def tabs(visitors: Visitors, page_url: str, broker: BrokerProcess) -> Iterator[Tabs]:
    """Opens tabs of the page, and closes them."""
    with Tabs(visitors, page_url) as opened:
        yield opened


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
