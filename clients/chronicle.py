"""What has happened to one client, as it stands: its connection, its conversations, and what became of its messages."""

from __future__ import annotations

import itertools
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from clients.feed import Feed
from clients.history import StoredHistory, is_kept
from clients.timeline import Line, Timeline
from core.errors import SecureChatError, StoreFailed
from core.events import Disconnected, Event, Outcome, Receipt, Refused, RosterChanged, Welcomed, overtakes

_TRACKED_MAX: Final = 4096  # messages whose outcomes are remembered
_TIMELINE_ENTRIES: Final = 2000  # of a profile's history, that its conversations begin with


class ConnectionState(StrEnum):
    """Where a client stands with its broker."""

    CONNECTING = "connecting"
    ONLINE = "online"
    OFFLINE = "offline"
    REFUSED = "refused"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class ConnectionStatus:
    """A state, since when (seconds since 1970), and why, in a person's words; ``error`` where there is one."""

    state: ConnectionState
    since: float
    why: str = ""
    error: SecureChatError | None = None

    @property
    def online(self) -> bool:
        """Whether messages go out now."""
        return self.state is ConnectionState.ONLINE


class Chronicle:
    """Takes events as they come, and tells whoever waits. All methods may be called from any thread.

    A guest's events are taken as they are. Those that a profile's ``history`` keeps are taken from there, whichever of the
    profile's processes wrote them. With ``feed`` they are also kept for ``events``, whose reader must keep up. ``back``
    says whether the conversations begin with what the history holds.
    """

    def __init__(self, me: str, history: StoredHistory | None, *, feed: bool, back: bool) -> None:
        self._history = history
        self._changed = threading.Condition()
        self._timeline = Timeline(me)
        self._outcomes: OrderedDict[bytes, dict[str, Outcome]] = OrderedDict()
        self._arrivals: dict[str, int] = {}
        self._feed = Feed() if feed else None
        self._first = self._seen = history.last if history else 0
        self._shown: int | None = None
        self.status = ConnectionStatus(ConnectionState.CONNECTING, time.time())
        self.version = 0
        self.rosters = 0
        if history and back:
            for entry in history.before(self._first + 1, _TIMELINE_ENTRIES):
                self._timeline.apply(entry.event, entry.at / 1000)

    def wait(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait until ``condition`` holds, which is asked whenever something has changed; returns whether it does."""
        with self._changed:
            return self._changed.wait_for(condition, timeout)

    def happened(self, events: Sequence[Event], error: SecureChatError | None) -> None:
        """Take what happened; ``error`` says why a connection ended."""
        now = time.time()
        with self._changed:
            news: list[tuple[int | None, Event, float]] = [
                (None, event, now) for event in events if not (self._history and is_kept(event))
            ]
            try:
                if self._history and (events or self._history.has_grown()):
                    news += [(entry.number, entry.event, entry.at / 1000) for entry in self._history.after(self._seen)]
            except StoreFailed as failure:
                self._set_status(ConnectionState.OFFLINE, str(failure), failure)
            for number, event, at in news:
                self._seen = number or self._seen
                self._apply(event, at, error)
                if self._feed:
                    self._feed.put(number, event)
            if self._feed and self.status.state is ConnectionState.REFUSED:
                self._feed.end()
            if news:
                self.bump()

    def _apply(self, event: Event, at: float, error: SecureChatError | None) -> None:
        match event:
            case Welcomed():
                self._set_status(ConnectionState.ONLINE)
            case Refused(why):
                self._set_status(ConnectionState.REFUSED, str(why), why)
            case Disconnected(why_text):
                self._set_status(ConnectionState.OFFLINE, why_text, error)
            case RosterChanged(joined, left):
                self.rosters += 1
                for entry in left:
                    self._arrivals.pop(entry.user, None)
                self._arrivals.update((entry.user, int(at * 1000)) for entry in joined)
            case Receipt(id_, user, outcome) if user in self._outcomes.get(id_, {}):
                if overtakes(outcome, self._outcomes[id_][user]):
                    self._outcomes[id_][user] = outcome
            case _:
                pass
        self._timeline.apply(event, at)

    def close(self) -> None:
        """Nothing more will happen."""
        with self._changed:
            if self.status.state is not ConnectionState.CLOSED:
                self._set_status(ConnectionState.CLOSED)
        if self._feed:
            self._feed.end()

    def _set_status(self, state: ConnectionState, why: str = "", error: SecureChatError | None = None) -> None:
        before = self.status
        since = before.since if before.state is state else time.time()
        self.status = ConnectionStatus(state, since, why, error)
        if state is not before.state and before.state is not ConnectionState.CONNECTING:
            if state is ConnectionState.OFFLINE:
                self._timeline.say(f"connection lost: {why}", time.time())
            elif state is ConnectionState.ONLINE:
                self._timeline.say("connected again", time.time())
        self.bump()

    def bump(self) -> None:
        """Something that a person could see has changed."""
        with self._changed:
            self.version += 1
            self._changed.notify_all()

    def arrival(self, user: str) -> int | None:
        """Since when somebody is in the roster; milliseconds since 1970."""
        return self._arrivals.get(user)

    def conversations(self) -> tuple[str, ...]:
        """``everyone``, then each peer there has been a message with."""
        with self._changed:
            return self._timeline.conversations()

    def lines(self, conversation: str) -> tuple[Line, ...]:
        """A conversation's lines, oldest first."""
        with self._changed:
            return self._timeline.lines(conversation)

    # Messages of one's own

    def track(self, id_: bytes, to: Sequence[str]) -> bool:
        """Remember what becomes of a message; False if it is remembered already."""
        with self._changed:
            if id_ in self._outcomes:
                return False
            self._outcomes[id_] = dict.fromkeys(to, Outcome.QUEUED)
            if len(self._outcomes) > _TRACKED_MAX:
                self._outcomes.popitem(last=False)
            return True

    def untrack(self, id_: bytes) -> None:
        """Forget a message: it could not be taken."""
        with self._changed:
            self._outcomes.pop(id_, None)

    def outcomes(self, id_: bytes) -> dict[str, Outcome]:
        """What became of each recipient's copy, as it stands."""
        with self._changed:
            return dict(self._outcomes.get(id_, {}))

    # Events, one by one

    def events(self, timeout: float | None, cursor: str | None, since: int | None) -> Iterator[Event]:
        """See ``ChatClient.events``."""
        if self._feed is None:
            raise ValueError("this client was made with events=False")
        for number, event in itertools.chain(self._missed(cursor, since), self._feed.take(timeout)):
            if number is not None:
                self._shown = number
            yield event
            if cursor and number is not None:
                self.mark_shown(cursor)

    def mark_shown(self, cursor: str) -> None:
        """See ``ChatClient.mark_shown``."""
        if self._history and self._shown is not None:
            self._history.move_cursor(cursor, self._shown)

    def _missed(self, cursor: str | None, since: int | None) -> Iterator[tuple[int | None, Event]]:
        """What the history held for this consumer when the client was made."""
        if self._history is None or cursor is None:
            return
        if since is not None:  # what was passed over is done, also if nothing follows it for now
            self._history.move_cursor(cursor, since)
        else:
            since = self._history.cursor(cursor)
        if since is None:  # its first time: from now on
            self._history.move_cursor(cursor, self._first)
            return
        for entry in self._history.after(since):
            if entry.number > self._first:
                return
            yield entry.number, entry.event
