"""Pictures of the real page, with two guests talking: ``python -m scripts.screenshots [FOLDER]``.

Without FOLDER it makes ``docs/page.svg``, the README's picture; with one, ``page.png`` (light), ``page-dark.png`` and
``page-phone.png`` in it. It needs the development packages and a Chromium.
"""

from __future__ import annotations

import base64
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from clients.chat import ChatClient
from core.address import BrokerAddress
from core.bundle import Suite
from core.errors import SecureChatError
from core.names import EVERYONE
from scripts.processes import BROKER_PORT, ROOT, UI_PORT, Failed, Processes, Stopped, next_free_port, start_broker, start_page

_LIMIT_MS: Final = 30_000
_WIDTH: Final = 1080
_HEIGHT: Final = 640
_COLOURS: Final = 48  # in the README's picture: few enough to be small, and as many as flat surfaces and text need
# Who writes, to whom ("alice" being the page), and what; the page's own lines have no sender here.
_TALK: Final = (
    ("bob", EVERYONE, "Morning! The backup of db1 took 4 minutes.", Suite.HYBRID),
    ("bob", EVERYONE, "Restored it into staging as a test:\n  3 tables, 1.2 GB, checksums match", Suite.HYBRID),
    ("alice", EVERYONE, "Good. Then I rotate the keys now; please don't deploy until I say so.", Suite.HYBRID),
    ("carol", EVERYONE, "All right, deploys are on hold.", Suite.CHUNKED),
    ("bob", EVERYONE, "And I'm in the server room, if anybody looks for me", Suite.HYBRID),
    ("bob", "alice", "The new passphrase is in the safe.", Suite.CHUNKED),
)


def main(arguments: Sequence[str]) -> int:
    """Take the pictures; returns the exit code."""
    if len(arguments) > 1 or arguments[:1] in (["-h"], ["--help"]):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        with tempfile.TemporaryDirectory(prefix="securechat-pictures-") as data, Processes() as processes:
            broker = start_broker(processes, next_free_port(BROKER_PORT, "PORT"), Path(data))
            url = start_page(processes, next_free_port(UI_PORT, "UI_PORT"), broker)
            with sync_playwright() as playwright:
                path = os.environ.get("CHROMIUM") or shutil.which("chromium") or playwright.chromium.executable_path
                if not Path(path).exists():
                    raise Failed("There is no Chromium: install one, or name it in the environment variable CHROMIUM.")
                browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
                if arguments:
                    folder = Path(arguments[0])
                    folder.mkdir(parents=True, exist_ok=True)
                else:
                    folder = Path(data)
                _talk_and_take(browser, url, broker, folder)
                browser.close()
            if not arguments:
                picture = ROOT / "docs" / "page.svg"
                picture.write_text(_svg(folder / "page.png"))
                print(f"{picture.relative_to(ROOT)}: {picture.stat().st_size:,} bytes")
    except Stopped:
        return 130
    except (Failed, SecureChatError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _talk_and_take(browser: Browser, url: str, broker: BrokerAddress, folder: Path) -> None:
    page = browser.new_page(viewport={"width": _WIDTH, "height": _HEIGHT}, device_scale_factor=1.5)
    page.set_default_timeout(_LIMIT_MS)
    page.goto(f"{url}/?as=alice")
    page.get_by_role("button", name="Connect").click()
    expect(page.get_by_text("Nobody else is here yet.")).to_be_visible(timeout=_LIMIT_MS)
    with ChatClient("bob", broker, events=False) as bob, ChatClient("carol", broker, events=False) as carol:
        expect(page.get_by_text("bob and carol are here with you.")).to_be_visible(timeout=_LIMIT_MS)
        for sender, to, text, suite in _TALK:
            if sender == "alice":
                _write(page, text)
            else:
                guest = bob if sender == "bob" else carol
                guest.wait_sent(guest.send(text, to, suite=suite), _LIMIT_MS / 1000, stored=False)
        expect(page.get_by_role("button", name="bob")).to_contain_text("1", timeout=_LIMIT_MS)
        expect(page.locator(".sc-theirs").last).to_contain_text("server room", timeout=_LIMIT_MS)
        expect(page.locator(".sc-mine")).to_contain_text("delivered", timeout=_LIMIT_MS)
        page.screenshot(path=folder / "page.png")
        page.emulate_media(color_scheme="dark")
        page.screenshot(path=folder / "page-dark.png")
        page.set_viewport_size({"width": 390, "height": 720})
        expect(page.get_by_text("1 new in bob")).to_be_visible(timeout=_LIMIT_MS)
        page.wait_for_function("document.querySelector('[data-testid=stSidebar]').getBoundingClientRect().right <= 0")
        page.screenshot(path=folder / "page-phone.png")


def _svg(picture: Path) -> str:
    """A picture as text, which is all that the repository holds: an SVG with a PNG of few colours in it."""
    small = io.BytesIO()
    with Image.open(picture) as image:
        # Without dithering: dots would be noise on flat surfaces, and take more bytes than the picture itself.
        image.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    data = base64.b64encode(small.getvalue()).decode("ascii")
    size = f'width="{_WIDTH}" height="{_HEIGHT}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">\n'
        "<title>The page: a conversation with everyone, and who is there beside it</title>\n"
        f'<image {size} href="data:image/png;base64,{data}"/>\n'
        f'<rect x=".5" y=".5" width="{_WIDTH - 1}" height="{_HEIGHT - 1}" fill="none" stroke="#8884"/>\n'
        "</svg>\n"
    )


def _write(page: Page, text: str) -> None:
    composer = page.get_by_placeholder("Message everyone")
    composer.fill(text)
    composer.press("Enter")
    expect(page.locator(".sc-mine").last).to_contain_text("delivered", timeout=_LIMIT_MS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
