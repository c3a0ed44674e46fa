"""What one browser session holds: its chat, and the lease that ends it when the tab is closed."""

from __future__ import annotations

import atexit
import contextlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import streamlit as st

from clients.chat import ChatClient
from clients.finding import Found
from clients.page_log import LogPart
from clients.timeline import Line, LineKind
from clients.transfers import Transfers
from core.bundle import Suite
from core.errors import SecureChatError
from core.events import Outcome
from core.names import EVERYONE

SHOWN_FIRST: Final = 50
# A tab that lost its connection to this server comes back within seconds, with its session state; one that was closed
# does not. Streamlit releases the session's cache at once in both cases.
GRACE: Final = 10.0
_CHAT: Final = "chat"
_READ: Final = "read/"  # begins the name of the setting in which a profile keeps how far a conversation was read


@dataclass(frozen=True, slots=True)
class Search:
    """What was searched for, and what was found: the newest first, and whether there is ``more``."""

    text: str
    found: tuple[Found, ...]
    more: bool
    error: SecureChatError | None = None


@dataclass
class Chat:
    """One user in one browser session, and what is on the screen."""

    client: ChatClient
    broker_is_local: bool = True
    note: str = ""
    current: str = EVERYONE  # the conversation on the screen
    visits: int = 0  # how many times a conversation was put on the screen
    search: Search | None = None  # what is on the screen in place of the conversation
    goto: str = ""  # the key of the line that was to be brought into sight last
    asked: int = 0  # how many times one was: the same line may be wanted again
    comparing: str | None = None  # whose safety number is on the screen
    undecided: SecureChatError | None = None  # why a decision about that person's key was not taken
    outside: tuple[object, ...] = ()  # what is drawn outside of the fragment that refreshes itself was made from this
    drawings: int = 0  # of the whole page, each to its end
    opened: list[str] = field(default_factory=lambda: [EVERYONE])  # conversations that have a composer, in that order
    shown: dict[str, int] = field(default_factory=dict)  # how many lines are drawn of a conversation
    drawn: tuple[object, list[LogPart]] = (None, [])  # the log's parts, and what they were made from
    refusals: dict[str, tuple[str, str]] = field(default_factory=dict)  # conversation -> why a text was not sent, advice
    resent: set[str] = field(default_factory=set)
    unread: dict[str, int] = field(default_factory=dict)
    received: int = 0  # messages that ever came in
    offline_since: float | None = None
    back: tuple[float, float] | None = None  # when the connection came back, and for how long it was gone
    _read: dict[str, str] = field(default_factory=dict)  # conversation -> key of the last line that was on the screen
    _kept: dict[str, str] = field(default_factory=dict)  # the same of messages alone, as a profile keeps it
    _counted: dict[str, str] = field(default_factory=dict)  # conversation -> key of the last line that ``received`` counts
    _stock: tuple[object, ...] = ()
    transfers: Transfers = field(init=False)

    def __post_init__(self) -> None:
        """Have somebody to carry files."""
        self.transfers = Transfers(self.client)

    def open(self, conversation: str) -> None:
        """Put a conversation on the screen."""
        self.current, self.comparing, self.search = conversation, None, None
        self.visits += 1
        if conversation not in self.opened:
            self.opened.append(conversation)

    def key_of(self, field: str) -> str:
        """The key of a field that is empty each time that a conversation is put on the screen.

        It is another one each time: a field that this program emptied would be filled again by a refresh that the browser
        had sent just before. What is said of an older one is of no meaning.
        """
        return f"{field}-{self.visits}"

    def draw_again(self) -> None:
        """Have the whole page drawn with the next refresh."""
        self.outside = ()

    def compare(self, user: str | None) -> None:
        """Put somebody's safety number on the screen, or none."""
        self.comparing, self.undecided = user, None

    def show_more(self) -> None:
        """Draw fifty more lines of the conversation on the screen."""
        self.shown[self.current] = self.shown.get(self.current, SHOWN_FIRST) + SHOWN_FIRST

    def take_stock(self) -> None:
        """Bring ``unread`` and ``received`` up to date, the conversation on the screen being read."""
        stock = (self.client.version, self.current)
        if stock == self._stock:
            return
        self._stock = stock
        self.unread = {}
        for conversation in self.client.conversations():
            lines = self.client.timeline(conversation)
            if not lines:
                continue
            self.received += count_unread(lines, self._counted.get(conversation))
            self._counted[conversation] = lines[-1].key
            if conversation == self.current:
                self._mark_read(conversation, lines)
            elif count := count_unread(lines, self._last_read(conversation)):
                self.unread[conversation] = count

    def _last_read(self, conversation: str) -> str | None:
        if conversation not in self._read and self.client.profile:
            with contextlib.suppress(SecureChatError):
                self._read[conversation] = self.client.profile.store.setting(_READ + conversation) or ""
        return self._read.get(conversation)

    def _mark_read(self, conversation: str, lines: Sequence[Line]) -> None:
        self._read[conversation] = lines[-1].key
        # Messages keep their keys from one session to the next, other lines do not.
        last = next((line.key for line in reversed(lines) if line.kind is LineKind.MESSAGE), None)
        if self.client.profile and last and last != self._kept.get(conversation):
            self._kept[conversation] = last
            with contextlib.suppress(SecureChatError):  # then they count as unread the next time
                self.client.profile.store.set_setting(_READ + conversation, last)

    def waiting(self) -> list[tuple[Line, list[str]]]:
        """The messages of one's own that the broker has not answered for, and for which recipients."""
        return [
            (line, users)
            for conversation in self.client.conversations()
            for line in self.client.timeline(conversation)
            if (users := [user for user, outcome in line.outcomes.items() if outcome in (Outcome.QUEUED, Outcome.SENT)])
        ]


def count_unread(lines: Sequence[Line], last_read: str | None) -> int:
    """Messages of others, and refused ones, after the line with the key ``last_read``."""
    count = 0
    for line in reversed(lines):
        if line.key == last_read:
            break
        count += not line.mine and line.kind is not LineKind.SYSTEM
    return count


class Closable(Protocol):
    """What takes a moment to close, and can begin before it is waited for."""

    def begin_close(self) -> None:
        """Begin; returns at once."""

    def close(self) -> None:
        """Wait until it is closed."""


class Departures:
    """Clients whose tab is gone: each is closed after ``grace`` seconds, unless the tab comes back."""

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._lock = threading.Lock()
        self._closed = threading.Condition(self._lock)
        self._closing = 0
        self._here: set[ChatClient] = set()
        self._leaving: dict[ChatClient, threading.Timer] = {}
        self._tied: dict[ChatClient, Closable] = {}

    def tie(self, client: ChatClient, one: Closable) -> None:
        """Have something else close with a client, just before it."""
        with self._lock:
            self._tied[client] = one

    def stay(self, client: ChatClient) -> None:
        """The client's tab is here (again)."""
        with self._lock:
            self._here.add(client)
            timer = self._leaving.pop(client, None)
        if timer is not None:
            timer.cancel()

    def leave(self, client: ChatClient) -> None:
        """The client's tab is gone, perhaps for good. Returns at once: Streamlit's event loop calls this."""
        timer = threading.Timer(self._grace, self.close, (client,))
        timer.daemon = True
        with self._lock:
            if client not in self._here:
                return
            before = self._leaving.get(client)
            self._leaving[client] = timer
        if before is not None:
            before.cancel()
        timer.start()

    def close(self, *clients: ChatClient) -> None:
        """Say goodbye for these, now and at the same time, and lock their profiles."""
        with self._lock:
            self._here.difference_update(clients)
            timers = [self._leaving.pop(client) for client in clients if client in self._leaving]
            tied = [self._tied.pop(client) for client in clients if client in self._tied]
            self._closing += 1
        try:
            for timer in timers:
                timer.cancel()
            _close_each(tied)
            _close_each(clients)
            for client in clients:
                if client.profile:
                    client.profile.close()
        finally:
            with self._lock:
                self._closing -= 1
                self._closed.notify_all()

    def make_room(self, user: str) -> None:
        """Close those of this name whose tab is gone: whoever reloaded the page gets the name back without waiting."""
        with self._lock:
            leaving = [client for client in self._leaving if client.user == user]
        self.close(*leaving)

    def close_all(self) -> None:
        """Say goodbye for everybody: the server is ending, and with it the threads that do so for those who have left."""
        with self._lock:
            clients = list(self._here)
        self.close(*clients)
        with self._lock:
            self._closed.wait_for(lambda: not self._closing, GRACE)


def _close_each(ones: Sequence[Closable]) -> None:
    """Close these together: a broker that hangs is waited for once, not once for each."""
    for one in ones:
        one.begin_close()
    for one in ones:
        one.close()


DEPARTURES: Final = Departures(GRACE)
atexit.register(DEPARTURES.close_all)


@st.cache_resource(scope="session", on_release=DEPARTURES.leave, show_spinner=False, hash_funcs={ChatClient: id})
def _lease(client: ChatClient) -> ChatClient:
    DEPARTURES.stay(client)
    return client


def current_chat() -> Chat | None:
    """This browser session's chat, or None before Connect. Each call renews the lease that keeps it."""
    chat: Chat | None = st.session_state.get(_CHAT)
    if chat is not None:
        _lease(chat.client)
    return chat


def begin_chat(client: ChatClient, *, note: str = "", broker_is_local: bool) -> None:
    """Start a client and make it this browser session's.

    It takes on the open conversations of the one before, and sends what a guest could not, and files; a profile's outbox
    sends the rest by itself.
    """
    before: Chat | None = st.session_state.get(_CHAT)
    waiting = before.waiting() if before and before.client.profile is None else []
    chat = Chat(client, broker_is_local, note)
    if before is not None:
        chat.current, chat.opened = before.current, before.opened
        chat.transfers.take_on(before.transfers)
    end_chat()
    DEPARTURES.make_room(client.user)
    DEPARTURES.tie(client, chat.transfers)
    client.start()
    st.session_state[_CHAT] = chat
    _lease(client)
    for line, users in waiting:
        client.send(line.file or line.text, users, suite=line.suite or Suite.HYBRID)


def end_chat() -> None:
    """Say goodbye and forget the chat."""
    chat: Chat | None = st.session_state.pop(_CHAT, None)
    if chat is not None:
        DEPARTURES.close(chat.client)
        _lease.clear(chat.client)
