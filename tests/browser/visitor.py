"""A person in front of the page: what they do, and what they see."""

from __future__ import annotations

from playwright.sync_api import BrowserContext, Locator, WebSocket, expect
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from tests.browser.programs import LIMIT

MS = LIMIT * 1000
expect.set_options(timeout=MS)


class Visitor:
    """One tab of the page in a browser context of its own."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        context.set_default_timeout(MS)
        self.page = context.new_page()
        self.page.on("websocket", self._watch)
        self.refreshes = 0  # runs of the page's fragment that have ended
        self.frames: list[tuple[int, bytes]] = []  # what the server sent, each with the number of refreshes before it
        self._socket: WebSocket | None = None
        self.page.goto(url)

    def connect(self, user: str, broker: str = "") -> None:
        """Fill in the form and press Connect, without waiting for what comes of it."""
        self.page.get_by_label("Your name").fill(user)
        if broker:
            self.page.get_by_label("Broker").fill(broker)
        self.press("Connect")

    def await_online(self) -> None:
        """Wait until this guest is online."""
        expect(self.page.locator(".sc-me")).to_contain_text("connected · guest")

    def press(self, button: str) -> None:
        """Press a button by its words."""
        self.page.get_by_role("button", name=button, exact=True).click()

    def open(self, conversation: str) -> None:
        """Choose a conversation in the sidebar, and wait until its composer has the focus."""
        self.page.locator(f".st-key-to-{conversation} button").click()
        expect(self.composer(conversation)).to_be_focused()

    def composer(self, conversation: str) -> Locator:
        """Where to write to somebody."""
        return self.page.get_by_placeholder(f"Message {conversation}", exact=True)

    def write(self, conversation: str, text: str) -> None:
        """Write to the conversation that is open, and see the line appear."""
        composer = self.composer(conversation)
        composer.fill(text)
        composer.press("Enter")
        expect(self.messages(text)).to_have_count(1)
        expect(composer).to_have_value("")

    def messages(self, text: str) -> Locator:
        """The messages on the screen with this text in them."""
        return self.page.locator(".sc-message").filter(has=self.page.get_by_text(text))

    def system(self, text: str) -> Locator:
        """The lines about what happened, with this text in them."""
        return self.page.locator(".sc-system").filter(has_text=text)

    def panel(self, text: str) -> Locator:
        """The panels that say how things stand, with this text in them."""
        return self.page.locator(".sc-panel").filter(has_text=text)

    def await_refresh(self, number: int) -> None:
        """Wait until the fragment has run to its end this many times in all."""
        assert self._socket is not None
        while self.refreshes < number:
            self._socket.wait_for_event("framereceived", timeout=MS)

    def refreshes_until(self, text: str) -> int:
        """How many refreshes had ended when the server first sent this text."""
        return next(before for before, frame in self.frames if text.encode() in frame)

    def _watch(self, socket: WebSocket) -> None:
        if "_stcore/stream" in socket.url:
            self._socket = socket
            socket.on("framereceived", self._received)

    def _received(self, frame: bytes | str) -> None:
        raw = frame if isinstance(frame, bytes) else frame.encode()
        self.frames.append((self.refreshes, raw))
        if ForwardMsg.FromString(raw).script_finished == ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY:
            self.refreshes += 1
