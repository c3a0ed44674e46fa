"""Where pictures are taken: a home folder, a broker that can be stopped, the page, and a browser, all of them real."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final

from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from clients.chat import ChatClient
from clients.keystore import choose_home
from clients.making import make_profile
from clients.profiles import OpenProfile
from core.address import BrokerAddress
from core.errors import NameTaken
from core.places import FILE_NAME, decode_connection_file
from scripts.processes import BROKER_PORT, ROOT, UI_PORT, Failed, Processes, next_free_port, start_broker, start_page

LIMIT_MS: Final = 30_000
SECRET: Final = "correct horse battery staple"  # of the profiles in the pictures, whose keys live as long as those are taken
_WIDE: Final = {"width": 900, "height": 667}
_PHONE: Final = {"width": 375, "height": 667}
# Streamlit opens and closes it by itself at some widths, and not always: then it is asked to.
_SIDEBAR: Final = """open => {
  if ((document.querySelector("[data-testid=stSidebar]").getBoundingClientRect().right > 0) === open) return true;
  const which = open ? "[data-testid=stExpandSidebarButton]" : "[data-testid=stSidebarCollapseButton] button";
  document.querySelector(which)?.click();
  return false;
}"""
_FOLDERS: Final = ("XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")


class Studio:
    """One home and what runs in it. Use it in a ``with``."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._broker = ExitStack()
        self.shots: dict[str, list[bytes]] = {}
        self.people: dict[str, ChatClient] = {}

    def __enter__(self) -> Studio:
        """Start the page and the browser; there is no broker yet."""
        self.home = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="securechat-pictures-")))
        self._settle()
        processes = self._stack.enter_context(Processes())
        self.port = next_free_port(BROKER_PORT, "PORT")
        self.url = start_page(processes, next_free_port(UI_PORT, "UI_PORT"), None)
        self._chromium = self._stack.enter_context(browser())
        self._stack.callback(self.stop_broker)
        self._stack.callback(self.dismiss)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End all of it."""
        self._stack.close()

    def _settle(self) -> None:
        """Make the home this process's own; nothing of the user's is seen or touched."""
        for name in [name for name in os.environ if name.startswith("SECURECHAT_")]:
            del os.environ[name]
        os.environ["HOME"] = str(self.home)
        for name in _FOLDERS:
            folder = self.home / name.lower()
            folder.mkdir(mode=0o700)
            os.environ[name] = str(folder)

    # The broker

    def start_broker(self, *options: str) -> None:
        """Start the broker, or start it again with what it had."""
        processes = self._broker.enter_context(Processes())
        self.address: BrokerAddress = start_broker(processes, self.port, self.data, *options)

    @property
    def data(self) -> Path:
        """The broker's folder."""
        return self.home / "broker"

    def stop_broker(self) -> None:
        """End the broker, if there is one."""
        self.wake_broker()
        self._broker.close()

    def kill_broker(self) -> None:
        """End it without a chance to say goodbye."""
        self._signal(signal.SIGKILL)
        self._broker.close()

    def freeze_broker(self) -> None:
        """Have the broker do nothing, as behind a network that loses everything."""
        self._signal(signal.SIGSTOP)

    def wake_broker(self) -> None:
        """Have it go on."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        os.kill(decode_connection_file((self.data / FILE_NAME).read_bytes()).pid, number)

    def ask_broker(self, *command: str) -> str:
        """Run a command of ``securechat-broker``; returns what it prints."""
        whole = [sys.executable, "-m", "broker", "--data", str(self.data), *command]
        return subprocess.run(whole, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    # People

    def person(self, name: str) -> ChatClient:
        """A guest of this name, connected."""
        self.people[name] = ChatClient(name, self.address).__enter__()
        return self.people[name]

    def profile(self, name: str, home: str) -> ChatClient:
        """A profile of this name, made in a home of its own if it is not there, and connected."""
        folder = self.home / home
        known = (folder / "profiles" / name).exists()
        profile = OpenProfile(folder, name, None) if known else self._made(folder, name)
        self.people[name] = ChatClient(profile, self.address).__enter__()
        return self.people[name]

    def _made(self, folder: Path, name: str) -> OpenProfile:
        until = time.monotonic() + LIMIT_MS / 1000
        while True:
            try:
                return make_profile(folder, name, None, self.address)[0]
            except NameTaken:  # the broker hears of a release, and of who has left, in its own time
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)

    def own_profile(self, name: str) -> None:
        """Make a profile for the page to unlock."""
        profile, _ = make_profile(choose_home(None, os.environ), name, SECRET, self.address)
        profile.close()

    def dismiss(self, *names: str) -> None:
        """Have these people leave, or all."""
        for name in names or list(self.people):
            client = self.people.pop(name)
            client.close()
            if client.profile:
                client.profile.close()

    # The page

    @contextlib.contextmanager
    def tab(self, query: str = "", scale: float = 1) -> Iterator[Page]:
        """A browser tab of its own."""
        context = self._chromium.new_context(
            viewport=_WIDE,  # type: ignore[arg-type]
            color_scheme="light",
            device_scale_factor=scale,
        )
        context.set_default_timeout(LIMIT_MS)
        page = context.new_page()
        page.goto(self.url + query)
        try:
            yield page
        except BaseException:
            page.screenshot(path=Path(tempfile.gettempdir()) / "securechat-last-picture.png")
            raise
        finally:
            context.close()

    @contextlib.contextmanager
    def guest_tab(self, name: str, scale: float = 1) -> Iterator[Page]:
        """A tab in which a guest is connected."""
        with self.tab(f"/?as={name}", scale) as page:
            page.get_by_role("button", name="Connect").click()
            expect(page.locator(".sc-dot.online")).to_be_attached()
            yield page
            _leave(page, "Leave")

    @contextlib.contextmanager
    def profile_tab(self, name: str) -> Iterator[Page]:
        """A tab in which a profile is unlocked and connected."""
        with self.tab(f"/?profile={name}") as page:
            unlock(page)
            expect(page.locator(".sc-dot.online")).to_be_attached()
            yield page
            _leave(page, "Lock")

    def shoot(self, page: Page, name: str, *there: str | Locator) -> None:
        """Take the three pictures of a state, once it shows what is said to be ``there``."""
        for what in there:
            expect((page.get_by_text(what) if isinstance(what, str) else what).first).to_be_visible()
        page.mouse.move(0, 0)
        shots = [_picture(page)]
        page.emulate_media(color_scheme="dark")
        shots.append(_picture(page))
        page.emulate_media(color_scheme="light")
        page.set_viewport_size(_PHONE)  # type: ignore[arg-type]
        sidebar = page.get_by_test_id("stSidebar")
        if sidebar.count():
            page.wait_for_function(_SIDEBAR, arg=False, polling=200)
        shots.append(_picture(page))
        page.set_viewport_size(_WIDE)  # type: ignore[arg-type]
        if sidebar.count():
            page.wait_for_function(_SIDEBAR, arg=True, polling=200)
        self.shots[name] = shots
        print(f"{name}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """A Chromium; raises Failed where there is none."""
    with sync_playwright() as playwright:
        path = os.environ.get("CHROMIUM") or shutil.which("chromium") or playwright.chromium.executable_path
        if not Path(path).exists():
            raise Failed("There is no Chromium: install one, or name it in the environment variable CHROMIUM.")
        expect.set_options(timeout=LIMIT_MS)
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield chromium
        finally:
            chromium.close()


def _picture(page: Page) -> bytes:
    page.evaluate("document.fonts.ready")
    return page.screenshot(animations="disabled", caret="hide")


def _leave(page: Page, how: str) -> None:
    """Free the name at once: a tab that is closed may come back, and so keeps it for some seconds."""
    page.get_by_test_id("stSidebar").get_by_role("button", name=how, exact=True).click()
    expect(page.get_by_role("heading", name="SecureChat")).to_be_visible()


def unlock(page: Page, passphrase: str = SECRET) -> None:
    """Type a passphrase and press the button."""
    page.get_by_label("Passphrase", exact=True).fill(passphrase)
    page.get_by_role("button", name="Unlock").click()


def choose(page: Page, name: str) -> None:
    """Put a conversation on the screen."""
    page.get_by_test_id("stSidebar").get_by_role("button", name=name).click()
    expect(composer(page, name)).to_be_visible()


def composer(page: Page, name: str) -> Locator:
    """What a conversation is written to in."""
    return page.get_by_placeholder(f"Message {name.lower()}", exact=True)


def write(page: Page, name: str, text: str, word: str = "delivered") -> None:
    """Send a text in the conversation on the screen, and wait for a word beside it."""
    composer(page, name).fill(text)
    composer(page, name).press("Enter")
    if word:
        line = page.locator(".sc-mine").filter(has_text=text)
        expect(line.last).to_contain_text(word)


def attach(page: Page, name: str, *files: Path) -> None:
    """Attach files to what is written in a conversation, and send them."""
    field = page.get_by_test_id("stChatInput").filter(has=composer(page, name))
    field.locator("input[type=file]").set_input_files(files)
    expect(field.get_by_role("button", name="Remove")).to_have_count(len(files))
    field.get_by_role("button", name="Send message").click()
