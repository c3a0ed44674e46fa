"""One Chromium, one broker and one page for all these tests.

Each test's people have names of their own: who closes a tab keeps the name for some seconds more.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Error, Playwright, sync_playwright

from tests.browser.programs import Program, Town, installed_chromium, town
from tests.browser.visitor import Visitor

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--no-first-run"]
NONE_FOUND = "no Chromium for the browser tests; get one with 'apt-get install chromium' or 'playwright install chromium'"

Visit = Callable[[], Visitor]
Arrive = Callable[..., list[Visitor]]
Listen = Callable[..., Program]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs a browser."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """The system's Chromium, or Playwright's own."""
    with sync_playwright() as playwright:
        browser = _launch(playwright)
        yield browser
        browser.close()


def _launch(playwright: Playwright) -> Browser:
    path = installed_chromium()
    if path is None and not Path(playwright.chromium.executable_path).exists():
        if os.environ.get("SECURECHAT_REQUIRE_BROWSER") == "1":
            pytest.fail(NONE_FOUND, pytrace=False)
        pytest.skip(NONE_FOUND)
    try:
        return playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
    except Error as error:
        pytest.fail(f"{path or 'the Chromium of Playwright'} does not start: {error.message}", pytrace=False)


@pytest.fixture(scope="package")
def here(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """A town with its broker. A browser comes first: without one nothing needs to be started."""
    with town(tmp_path_factory.mktemp("town")) as one:
        one.start_broker()
        yield one


@pytest.fixture(scope="package")
def url(here: Town) -> str:
    """Where the page is."""
    return here.start_page()


@pytest.fixture
def visit(chromium: Browser, url: str) -> Iterator[Visit]:
    """Opens the page in a browser context of its own, as often as it is called."""
    contexts = []

    def one_more() -> Visitor:
        contexts.append(chromium.new_context(locale="en-GB"))
        return Visitor(contexts[-1], url)

    yield one_more
    for context in contexts:
        context.close()


@pytest.fixture
def arrive(visit: Visit) -> Arrive:
    """Has people connect under these names, each in a browser context of their own, and waits until all are online."""

    def all_of_them(*users: str) -> list[Visitor]:
        visitors = [visit() for _ in users]
        for visitor, user in zip(visitors, users, strict=True):
            visitor.connect(user)
        for visitor in visitors:
            visitor.await_online()
        return visitors

    return all_of_them


@pytest.fixture
def listen(here: Town) -> Iterator[Listen]:
    """Starts ``listen`` on the command line under a name; it ends with the test."""
    running = []

    def one_more(user: str, *options: str) -> Program:
        running.append(here.listener(user, *options))
        return running[-1]

    yield one_more
    for program in running:
        program.stop()
