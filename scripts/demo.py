"""``make demo``: a broker of its own, the page, and two guests, bob and carol, who greet whoever comes and answer.

One of them shows a picture, which is made here: hills at dusk.
"""

from __future__ import annotations

import contextlib
import math
import os
import struct
import sys
import tempfile
import time
import webbrowser
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from clients.chat import ChatClient
from core.content import File, Text
from core.errors import SecureChatError, TimeRanOut
from core.events import Event, Message, MessageReceived, RosterChanged
from core.names import EVERYONE
from scripts.processes import (
    BROKER_PORT,
    UI_PORT,
    Failed,
    Processes,
    Stopped,
    next_free_port,
    port_setting,
    start_broker,
    start_page,
)
from scripts.run import cli

VISITOR: Final = "alice"
PICTURE: Final = "hills.png"  # stands for itself among the lines
# Who says what to whom, "you" being the one who came, and how many seconds after the line before.
WELCOME: Final = (
    ("bob", EVERYONE, "Hello {you}! carol and I are two scripts on this machine.", 1.0),
    ("carol", EVERYONE, "Hi {you}. The broker passes these lines on, but it cannot read them.", 1.5),
    ("bob", EVERYONE, "Each of us made an RSA key pair on connecting, and you did, too.", 1.5),
    ("bob", EVERYONE, "Files are encrypted, too. This is what the broker is not allowed to see:", 1.5),
    ("bob", EVERYONE, PICTURE, 0.5),
    ("carol", "you", "This line is for you alone: not even bob can open it. Write back!", 1.5),
)
ANSWER_AFTER: Final = 1.0  # seconds


@dataclass(slots=True)
class Stage:
    """The guests, and what they are going to say: when (monotonic seconds), who, to whom, what."""

    guests: dict[str, ChatClient]
    picture: File
    waiting: list[tuple[float, str, str, str | File]] = field(default_factory=list)

    def look(self) -> None:
        """Take in what happened since the last look, and say what is due."""
        for name, guest in self.guests.items():
            for event in _news(guest):
                self._hear(name, event)
        now = time.monotonic()
        due = [line for line in self.waiting if line[0] <= now]
        self.waiting = [line for line in self.waiting if line[0] > now]
        for _, name, to, what in due:
            with contextlib.suppress(SecureChatError):  # whoever it was for has left; the show goes on
                self.guests[name].send(what, to)

    def _hear(self, name: str, event: Event) -> None:
        match event:
            case RosterChanged(joined=joined) if name == "bob":
                for entry in joined:
                    if entry.user not in self.guests:
                        self._welcome(entry.user)
            case MessageReceived(message) if message.sender not in self.guests:
                self._answer(name, message)
            case _:
                pass

    def _welcome(self, user: str) -> None:
        when = time.monotonic()
        for name, to, text, pause in WELCOME:
            when += pause
            what = self.picture if text == PICTURE else text.format(you=user)
            self.waiting.append((when, name, user if to == "you" else to, what))

    def _answer(self, name: str, message: Message) -> None:
        if message.everyone and name != "bob":
            return  # one answer is enough
        length = len(message.content.text) if isinstance(message.content, Text) else 0
        text = f"I could open that: {length} characters, signed by {message.sender}. To the broker it was random bytes."
        self.waiting.append((time.monotonic() + ANSWER_AFTER, name, EVERYONE if message.everyone else message.sender, text))


def _news(guest: ChatClient) -> Iterator[Event]:
    with contextlib.suppress(TimeRanOut):
        yield from guest.events(timeout=0)


def main() -> int:
    """Start everything and play until Ctrl-C; returns the exit code."""
    try:
        with Processes() as processes, tempfile.TemporaryDirectory(prefix="securechat-demo-") as folder:
            port = next_free_port(port_setting("PORT", BROKER_PORT), "PORT")
            broker = start_broker(processes, port, Path(folder))
            url = f"{start_page(processes, port_setting('UI_PORT', UI_PORT), broker)}/?as={VISITOR}"
            with ChatClient("bob", broker) as bob, ChatClient("carol", broker) as carol:
                path = Path(folder) / PICTURE
                path.write_bytes(hills(480, 240))
                stage = Stage({"bob": bob, "carol": carol}, bob.files.upload(path))
                print(_what_next(url, cli(broker)), flush=True)
                _show(url)
                while True:
                    stage.look()
                    processes.look()
    except Stopped:
        print("\nStopped.")
    except (Failed, SecureChatError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def hills(width: int, height: int) -> bytes:
    """A picture, as a PNG that nobody has seen before."""
    rows = b"".join(b"\0" + b"".join(_colour(x / width, y / height) for x in range(width)) for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    )
    return b"\x89PNG\r\n\x1a\n" + body


def _colour(x: float, y: float) -> bytes:
    """Red, green and blue at a place whose sides go from 0 to 1."""
    for shade, foot, steep in ((24, 0.9, 5.0), (44, 0.8, 3.0), (68, 0.68, 7.0)):
        if y > foot - 0.08 * abs(math.sin(steep * x + foot)):
            return bytes((shade // 2, shade, shade))
    if math.hypot(2 * (x - 0.7), y - 0.35) < 0.12:
        return bytes((255, 214, 140))
    return bytes((40 + int(170 * y), 60 + int(90 * y), 120 - int(30 * y)))


def _what_next(url: str, command: str) -> str:
    return f"""
The demo is running: bob and carol are here and wait for you.

  1. Open {url} and press Connect.
  2. Or come from another terminal:

       {command} --as dave listen

Press Ctrl-C here to stop it.
"""


def _show(url: str) -> None:
    """Open the page where there is a screen; without one, a browser in this terminal would be in the way."""
    if sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(url)


if __name__ == "__main__":
    sys.exit(main())
