"""The page's states: how each comes about, and what a person does about it. docs/STATES.md is made from this."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

STATES: Final[Mapping[str, tuple[str, str]]] = {
    "first-run": (
        "First run",
        "No broker runs on this machine. Start one as the page says; it is found by itself, and nothing typed is lost.",
    ),
    "connect": ("A broker is here", "Its address is filled in. Type a name and press Connect: the keys are made then."),
    "other-broker": (
        "Another broker",
        "What stands in the field is no broker's address, and the form says why. Paste the line that its owner gave you.",
    ),
    "invite": (
        "Invited",
        "To enter a broker elsewhere, paste the invite under *Make a new profile*; it is used once and not kept.",
    ),
    "locked": ("Locked", "A profile of this machine, under a passphrase. Type it; *Broker* is only for one that has moved."),
    "wrong-passphrase": ("Wrong passphrase", "Nothing was opened or changed, and what was typed is gone. Type it again."),
    "name-taken": ("The name is taken", "Somebody is connected under it, or it is a profile's. Take another one."),
    "connecting": (
        "Connecting",
        "The broker has not answered yet. Write meanwhile: what is for one person is queued and sent then.",
    ),
    "empty": (
        "Nobody here yet",
        "Connected, and alone. The line shown, typed into a terminal, brings the first message.",
    ),
    "everyone": ("Everyone", "Whoever is here reads it. The ticks count recipients: point at them to see each one."),
    "direct": (
        "One to one",
        "✓✓ is proved by the recipient's program; ✓ is on the broker's disk, for a profile that is away. Nothing to do.",
    ),
    "unread": ("Unread", "Messages came in other conversations: counted beside their names, and in the tab's title."),
    "not-sent": ("Not sent", "The guest had left, so ✗. When somebody of that name is here, one press sends the text again."),
    "guest-again": (
        "A guest who comes again",
        "A guest has new keys each time, so the name alone proves nothing. Who wants to be known again makes a profile.",
    ),
    "nobody": ("For nobody", "A line to everyone while nobody is here is not sent. It stands in the composer again."),
    "offline": (
        "Not connected",
        "The broker is gone. Go on writing: what waits is sent then. *Try again now* saves the pause.",
    ),
    "back": ("Connected again", "The broker is back, and what waited was sent. The line goes by itself."),
    "verify": ("Compare numbers", "From *Verify*. Read the number out over a call, or scan it: then you know who has the key."),
    "verified": ("Verified", "The numbers matched. From now on, any other key under this name stops your messages."),
    "key-changed": (
        "Another key, not verified before",
        "A profile's name shows another key. Nothing goes to it. Compare, accept it, or block.",
    ),
    "key-changed-verified": (
        "Another key, verified before",
        "The same, for somebody whose number you had compared. What you tried to send stands in the composer still.",
    ),
    "blocked": ("Blocked", "Nothing is sent to them and nothing is taken from them, until you unblock them here."),
    "undecryptable": (
        "A message that cannot be read",
        "A grey line says from whom it claims to be, why it was refused, and what helps. Point at it for the check's name.",
    ),
    "gaps": (
        "Missing and late",
        "Messages are numbered by their sender. What is missing is told, and so is what came late. Ask, if it matters.",
    ),
    "search": (
        "Search",
        "In all that a profile keeps; for a guest, in this session. *Write to* is for a name that is in no list yet.",
    ),
    "older": ("Older messages", "The last fifty are drawn. *Load older* draws fifty more, and so on."),
    "picture": ("A picture", "Pictures of up to 10 MiB are shown where they stand; other files are cards with a button."),
    "upload": ("An upload under way", "It is encrypted and sent in the background. Write on, or stop it."),
    "upload-stopped": ("An upload that was stopped", "What is at the broker stays there. Go on, or dismiss it."),
    "upload-offline": (
        "An upload without a broker",
        "The broker was killed in the middle. Nothing to do: what it has on its disk is not sent again.",
    ),
    "upload-resumed": ("An upload that goes on", "It went on where it was; the line says from where."),
    "upload-left": (
        "What is left of an upload",
        "The page was closed in the middle. Attach the same file again, to anybody, and only the rest is sent; or forget it.",
    ),
    "over-quota": (
        "A file that the broker refuses",
        "Your room there is used up. Ask whoever runs the broker, or wait until older files have expired.",
    ),
    "download": (
        "A download under way",
        "From *Get*; *Stop* ends it. When it is whole and its hash is right, *Save* takes its place.",
    ),
    "expired": ("A file that is gone", "The broker keeps files for a time only. Ask the sender for it again."),
}

_INTRO: Final = """# The page in each of its states

Each picture shows the real page in light, in dark, and on a phone. This page and its pictures are made by `make screenshots`.
"""


def pages() -> str:
    """The text of docs/STATES.md."""
    parts = [f"## {title}\n\n{what}\n\n![{title}](states/{name}.svg)\n" for name, (title, what) in STATES.items()]
    return "\n".join([_INTRO, *parts])
