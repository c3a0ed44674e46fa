"""How things are said: pure formatting that the command line and the page share."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Final

from core.content import Content, File, Text, Unknown
from core.encoding import b64url
from core.events import Message, MessageSent, Outcome, PeerKeyChanged
from core.names import fingerprint, short_fingerprint

_TICKS: Final = {
    Outcome.QUEUED: "… queued",
    Outcome.SENT: "… sent",
    Outcome.STORED: "✓ stored",
    Outcome.DELIVERED: "✓✓ delivered",
    Outcome.ABSENT: "✗ was not here",
    Outcome.GONE: "✗ left before taking it",
    Outcome.FULL: "✗ their mailbox is full",
    Outcome.RATE: "… slowed down by the broker",
    Outcome.UNSTORED: "✗ the broker could not store it",
    Outcome.EXPIRED: "✗ not fetched in time",
    Outcome.UNTRUSTED: "✗ key not believed",
    Outcome.REFUSED: "✗ could not be opened there",
    Outcome.UNPROVEN: "✗ delivered, says the broker without proof",
    Outcome.CHANGED: "✗ key changed",
    Outcome.BLOCKED: "✗ blocked by you",
    Outcome.DROPPED: "✗ dropped by you",
}
# The worst first: a person must see what went wrong before what went well.
_WORST: Final = (
    Outcome.CHANGED,
    Outcome.UNTRUSTED,
    Outcome.BLOCKED,
    Outcome.DROPPED,
    Outcome.REFUSED,
    Outcome.EXPIRED,
    Outcome.UNSTORED,
    Outcome.RATE,
    Outcome.UNPROVEN,
    Outcome.FULL,
    Outcome.GONE,
    Outcome.ABSENT,
    Outcome.QUEUED,
    Outcome.SENT,
    Outcome.STORED,
    Outcome.DELIVERED,
)


_REFUSALS: Final = {
    "sender": "its key is not the one that it names",
    "recipient": "it is for somebody else, or for a key that you do not have",
    "signature": "its signature is not that of the key it names",
    "route": "its sender says another name than the broker does",
    "freshness": "it is too old, or its sender's clock or yours is wrong",
    "pin": "it is signed with another key than the one you know",
    "decrypt": "it is encrypted to another key than yours",
}


def refusal(stage: str) -> str:
    """Why a message was refused at this check, in words, and the check's own name for who looks it up."""
    return f"{why_refused(stage)} (check: {clean(stage)})"


def why_refused(stage: str) -> str:
    """Why a message was refused at this check, in words alone."""
    return _REFUSALS.get(stage, "it is damaged, or was made wrongly")


def clean(text: str) -> str:
    """Make a peer's text harmless to show.

    Line feeds and tabs stay. Control characters (escape sequences among them), and the invisible ones that reorder what
    is displayed, become visible marks.
    """
    return "".join(_harmless(one) for one in text.replace("\r\n", "\n"))


def _harmless(one: str) -> str:
    if one in "\n\t" or one.isprintable():
        return one
    if ord(one) < 0x20:
        return chr(0x2400 + ord(one))  # the picture of the control character
    if unicodedata.category(one) == "Zs" or one in "\u200d\u200c":  # spaces, and the joiners that emoji and scripts need
        return one
    return "\ufffd"


def text_of(content: Content) -> str:
    """A content as text to show, cleaned."""
    match content:
        case Text(text):
            return clean(text)
        case File(name, size):
            return f"[file] {clean(name)} ({amount(size)})"
        case Unknown(type_):
            return f"[a message of the unknown type '{clean(type_)}']"


def contains(text: str, search: str) -> bool:
    """Whether ``search`` is in a text that a person sees, in whatever case."""
    return search.casefold() in text.casefold()


def became_of(sent: MessageSent, outcomes: Mapping[bytes, Mapping[str, Outcome]]) -> dict[str, Outcome]:
    """What became of each copy of a message, of all that is known by id and recipient."""
    known = outcomes.get(sent.id, {})
    return {user: known.get(user, Outcome.QUEUED) for user in sent.to}


def amount(size: float) -> str:
    """Bytes as people write them: ``512 B``, ``1.2 MB``."""
    if size < 1000:
        return f"{size:.0f} B"
    for unit in ("kB", "MB", "GB"):  # noqa: B007 - the last one counts
        size /= 1000
        if size < 999.5:
            break
    return f"{size:.1f} {unit}" if size < 99.95 else f"{size:.0f} {unit}"


def progress_parts(done: int, size: int, moved: int, seconds: float) -> tuple[str, ...]:
    """How far a file of ``size`` bytes is, how fast, and for how long still: ``42 %``, ``31.2 MB/s``, ``12 s left``.

    ``moved`` is what was done in these ``seconds``; before anything was, there is no pace.
    """
    share = f"{100 * done // size if size else 100} %"
    rate = moved / seconds if seconds > 0 else 0.0
    return (share, f"{amount(rate)}/s", f"{lasting((size - done) / rate)} left") if rate else (share,)


def tick(outcomes: Mapping[str, Outcome]) -> str:
    """The state of one's own message in a word or two; for many recipients, the worst with its count."""
    if not outcomes:
        return ""
    states = list(outcomes.values())
    worst = min(states, key=_WORST.index)
    if len(states) == 1 or all(state is worst for state in states):
        return _TICKS[worst]
    return f"{_TICKS[worst]} ({states.count(worst)} of {len(states)})"


def outcome_word(outcome: Outcome) -> str:
    """One outcome in words, without a mark."""
    return _TICKS[outcome].partition(" ")[2]


def clock(when: float, zone: tzinfo | None = None) -> str:
    """The time of day, ``14:05``; in the local time zone unless told otherwise."""
    return _at(when, zone).strftime("%H:%M")


def day(when: float, zone: tzinfo | None = None) -> str:
    """The day, ``Monday, 23 November 2026``."""
    at = _at(when, zone)
    return f"{at:%A}, {at.day} {at:%B %Y}"


def moment(when: float, zone: tzinfo | None = None) -> str:
    """A day and a time, ``2026-11-23 14:05``; in the local time zone unless told otherwise."""
    return _at(when, zone).strftime("%Y-%m-%d %H:%M")


def iso(ms: int) -> str:
    """Milliseconds since 1970 as RFC 3339 in UTC, with milliseconds."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def lasting(seconds: float) -> str:
    """A duration in one unit: ``8 s``, ``3 min``, ``2 h``."""
    if seconds < 60:
        return f"{max(0, int(seconds))} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min"
    return f"{int(seconds // 3600)} h"


def listing(names: Iterable[str]) -> str:
    """Names as people write them: ``a``, ``a and b``, ``a, b and c``."""
    all_names = list(names)
    if len(all_names) < 2:
        return "".join(all_names)
    return f"{', '.join(all_names[:-1])} and {all_names[-1]}"


def whole_fingerprint(user: str, kid: bytes) -> str:
    """A name and the fingerprint of its identity key: eight groups a line, as a terminal has room for."""
    groups = fingerprint(kid).split()
    half = len(groups) // 2
    return f"{user}  {' '.join(groups[:half])}\n{'':{len(user)}}  {' '.join(groups[half:])}"


def message_json(message: Message) -> dict[str, object]:
    """A received message in the documented, versioned form of ``--json``. Text stays as it was sent: JSON escapes it."""
    return {
        "v": 1,
        "type": "message",
        "id": b64url(message.id),
        "from": message.sender,
        "to": list(message.to),
        "everyone": message.everyone,
        "time": iso(message.ts),
        "suite": message.suite.value,
        "trust": message.trust.value,
        **content_json(message.content),
        "missing": message.place.missing,
        "late": message.place.late,
        "fork": message.place.fork,
    }


def content_json(content: Content) -> dict[str, object]:
    """What was said: a file without what opens it."""
    match content:
        case Text(text):
            return {"content": "text", "text": text}
        case File(name, size, hash_):
            return {"content": "file", "text": None, "file": {"name": name, "size": size, "sha256": hash_.hex()}}
        case Unknown(type_):
            return {"content": type_, "text": None}


def key_news(change: PeerKeyChanged) -> str:
    """Another key under a known name: of interest where it is a guest's, and else of concern."""
    verb = "has a new key" if change.accepted else "now uses another key"
    return f"{change.user} {verb}: {short_fingerprint(change.new_kid)}"


def key_changed_json(change: PeerKeyChanged) -> dict[str, object]:
    """A changed key in the documented, versioned form of ``--json``: the fingerprints of the known key and of the new one."""
    return {
        "v": 1,
        "type": "key-changed",
        "user": change.user,
        "known": fingerprint(change.old_kid),
        "fingerprint": fingerprint(change.new_kid),
    }


def sent_json(sent: MessageSent, user: str, outcomes: Mapping[str, Outcome]) -> dict[str, object]:
    """A message of one's own, and what became of each copy, in the same form."""
    return {
        "v": 1,
        "type": "sent",
        "id": b64url(sent.id),
        "from": user,
        "to": list(sent.to),
        "everyone": sent.everyone,
        "time": iso(sent.at),
        "suite": sent.suite.value,
        **content_json(sent.content),
        "recipients": {name: outcome.value for name, outcome in outcomes.items()},
    }


def order_notes(message: Message) -> list[str]:
    """What a person should know about where a message stands among its sender's; mostly nothing."""
    notes = []
    if message.place.missing == 1:
        notes.append(f"a message from {message.sender} is missing")
    elif message.place.missing:
        notes.append(f"{message.place.missing} messages from {message.sender} are missing")
    if message.place.late:
        notes.append(f"the next message from {message.sender} is late: others overtook it")
    if message.place.fork:
        notes.append(f"{message.sender} used one number for two messages; one may be forged with a stolen key")
    return notes


def _at(when: float, zone: tzinfo | None) -> datetime:
    return datetime.fromtimestamp(when, UTC).astimezone(zone)
