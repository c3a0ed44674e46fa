"""ChatClient: the one API under the command line, the page, and bots.

with ChatClient("bob", address) as client:
for event in client.events():
if isinstance(event, MessageReceived):
client.send("got it", [event.message.sender])
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import TYPE_CHECKING, Final

from clients.feed import Feed
from clients.history import is_kept
from clients.timeline import Line, Timeline
from clients.transport import Transport, instant
from core.address import BrokerAddress
from core.bundle import Kind, Suite
from core.envelope import check_text
from core.errors import (
    BrokerUnreachable,
    EmptyMessage,
    LocalProtocolError,
    NobodyHere,
    NobodyVerified,
    NotVerified,
    SecureChatError,
    StoreFailed,
)
from core.events import (
    Disconnected,
    Event,
    MailboxDrained,
    MessageSent,
    Outcome,
    Receipt,
    Refused,
    RosterChanged,
    RotationDue,
    Trust,
    Welcomed,
    overtakes,
)
from core.identity import guest_identity
from core.limits import MID_BYTES
from core.messages import Mode
from core.names import EVERYONE, check_name
from core.outbox import compose
from core.rsa import OpeningKey, SigningKey
from core.session import Session

if TYPE_CHECKING:
    from clients.profiles import OpenProfile

log = logging.getLogger("securechat.chat")

_TRACKED_MAX: Final = 4096  # submissions whose outcomes are remembered
_TIMELINE_ENTRIES: Final = 2000  # of the history, that a profile's conversations begin with


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


@dataclass(frozen=True, slots=True)
class Peer:
    """Somebody who is here. ``kid`` (32 bytes) is the broker's word until a bundle or a message has shown it."""

    user: str
    kind: Kind
    kid: bytes
    trust: Trust


class ChatClient:
    """A user's connection to a broker: a profile's, or a guest's, whose keys live in memory as long as this object is used.

    It connects in the background and reconnects by itself; while it cannot, messages wait. All methods may be called
    from any thread. ``events`` must be False for a client whose ``events()`` nobody reads: they would pile up.
    """

    def __init__(
        self,
        user: str | OpenProfile,
        broker: BrokerAddress,
        *,
        mode: Mode = Mode.FULL,
        events: bool = True,
    ) -> None:
        self._profile = None if isinstance(user, str) else user
        self.user: Final = check_name(user) if isinstance(user, str) else user.user
        if self._profile:
            self._profile.check_broker(broker)
        self._invite = broker.invite
        self.broker: Final = broker
        self._mode = mode
        self._changed = threading.Condition()
        self._status = ConnectionStatus(ConnectionState.CONNECTING, time.time())
        self._timeline = Timeline(self.user)
        self._version = 0
        self._outcomes: OrderedDict[bytes, dict[str, Outcome]] = OrderedDict()
        self._rosters = 0
        self._feed = Feed() if events else None
        self._session: Session | None = None
        self._history = self._profile.store.history if self._profile else None
        self._first = self._seen = self._history.last if self._history else 0
        if self._history and mode is Mode.FULL:
            for entry in self._history.before(self._first + 1, _TIMELINE_ENTRIES):
                self._timeline.apply(entry.event, entry.at / 1000)
        self._transport = Transport(broker, self._make_session, self._happened, self._before_connecting, self._keep)

    # Life

    def start(self) -> None:
        """Make the keys and connect, in the background; returns at once."""
        self._transport.start()

    @property
    def in_doubt(self) -> bool:
        """Whether the broker may have let this client in, and its profile may hold its name, without it having heard so."""
        return self._session is not None and self._session.in_doubt

    def wait_ready(self, timeout: float) -> None:
        """Wait until messages can be sent; raises what keeps that from happening, BrokerUnreachable if time runs out.

        A connection that was lost before the broker answered a login is no end yet: another one will tell.
        """

        def settled() -> bool:
            state = self._status.state
            return state is not ConnectionState.CONNECTING and not (state is ConnectionState.OFFLINE and self.in_doubt)

        with self._changed:
            if not self._changed.wait_for(settled, timeout):
                raise BrokerUnreachable(where=self.broker.where, why=f"no answer in {timeout:g} seconds")
            status = self._status
        if status.state is not ConnectionState.ONLINE:
            raise status.error or BrokerUnreachable(where=self.broker.where, why=status.why or "the client is closed")

    def retry_now(self) -> None:
        """Try to reconnect at once instead of after the pause."""
        self._transport.retry_now()

    def close(self) -> None:
        """Say goodbye and end. What was not sent by then stays in a profile's outbox; a guest's is gone with its keys."""
        self._transport.stop()
        with self._changed:
            if self._status.state is not ConnectionState.CLOSED:
                self._set_status(ConnectionState.CLOSED)
        if self._feed:
            self._feed.end()

    def __enter__(self) -> ChatClient:
        """Start, and wait up to 15 seconds until messages can be sent."""
        self.start()
        try:
            self.wait_ready(15)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close."""
        self.close()

    # What is known

    @property
    def status(self) -> ConnectionStatus:
        """Where this client stands with its broker."""
        return self._status

    @property
    def kid(self) -> bytes | None:
        """The id of this client's identity key (32 bytes); None until the keys are made."""
        return self._session.me.kid if self._session else None

    @property
    def public_pem(self) -> str | None:
        """The encryption key's public half as PEM; None until it is made, or where nobody is to write to this client."""
        openings = self._session.me.openings if self._session else ()
        return openings[0].public.pem if openings else None

    @property
    def version(self) -> int:
        """A number that grows whenever anything that a person could see has changed."""
        return self._version

    @property
    def is_profile(self) -> bool:
        """Whether this is a profile's client, with a memory that lasts."""
        return self._profile is not None

    def users(self) -> tuple[Peer, ...]:
        """Who else is here, by name; the last known while offline. In mode ``send``, ask first: ``fetch_users``."""
        if self._session is None:
            return ()
        peers = self._session.peers
        return tuple(
            Peer(entry.user, entry.kind, entry.kid, peers.trust_of(entry.user, entry.kid))
            for entry in sorted(peers.present.values(), key=lambda entry: entry.user)
            if entry.user != self.user
        )

    def audience(self, *, verified_only: bool = False) -> tuple[Peer, ...]:
        """Whom ``everyone`` means now: who is here, and the profiles that this one has met before, here or not.

        Not those who are blocked and, with ``verified_only``, only those who were verified.
        """
        here = self.users()
        known = {peer.user for peer in here} | {self.user}
        pins = self._profile.store.pins() if self._profile and self._session else ()
        away = [
            Peer(pin.user, Kind.PROFILE, pin.kid, self._session.peers.trust_of(pin.user, pin.kid))  # type: ignore[union-attr]
            for pin in pins
            if pin.profile and pin.user not in known
        ]
        peers = (peer for peer in (*here, *away) if peer.trust is not Trust.BLOCKED)
        return tuple(peer for peer in peers if not verified_only or peer.trust is Trust.VERIFIED)

    def _must_be_verified(self, user: str) -> None:
        pin = self._profile.store.pin(user) if self._profile else None
        if pin is None or pin.verified is None or pin.blocked:
            raise NotVerified(user=user)

    def fetch_users(self, timeout: float) -> tuple[Peer, ...]:
        """Ask the broker once who is here, for a client in mode ``send``; raises BrokerUnreachable."""
        with self._changed:
            before = self._rosters

        def ask(session: Session, _: object) -> list[Event]:
            session.ask_users()
            return []

        self._transport.call(ask)
        with self._changed:
            if not self._changed.wait_for(lambda: self._rosters > before, timeout):
                raise BrokerUnreachable(where=self.broker.where, why=f"no list of users in {timeout:g} seconds")
        return self.users()

    def conversations(self) -> tuple[str, ...]:
        """``everyone``, then each peer there has been a message with."""
        with self._changed:
            return self._timeline.conversations()

    def timeline(self, conversation: str) -> tuple[Line, ...]:
        """A conversation's lines, oldest first: a peer's name, or ``everyone``."""
        with self._changed:
            return self._timeline.lines(conversation)

    def events(self, timeout: float | None = None, *, cursor: str | None = None) -> Iterator[Event]:
        """What happened since the client was made, one by one, each once; waits for more.

        With ``cursor``, a profile's consumer of that name goes on where it stopped, also in an earlier run: an event counts
        as done when the next one is asked for. Ends when the client is closed or refused; raises TimeRanOut after
        ``timeout`` seconds in all.
        """
        if self._feed is None:
            raise ValueError("this client was made with events=False")
        for number, event in itertools.chain(self._missed(cursor), self._feed.take(timeout)):
            yield event
            if self._history and cursor and number is not None:
                self._history.move_cursor(cursor, number)

    def _missed(self, cursor: str | None) -> Iterator[tuple[int | None, Event]]:
        """What the history held for this consumer when the client was made."""
        if self._history is None or cursor is None:
            return
        since = self._history.cursor(cursor)
        if since is None:  # its first time: from now on
            self._history.move_cursor(cursor, self._first)
            return
        for entry in self._history.after(since):
            if entry.number > self._first:
                return
            yield entry.number, entry.event

    # Sending

    def send(
        self,
        text: str,
        to: Sequence[str] | str,
        *,
        suite: Suite = Suite.HYBRID,
        id_: bytes | None = None,
        verified_only: bool = False,
    ) -> bytes:
        """Send ``text`` to the named users, or to ``everyone`` who is here now; returns the message's id (16 bytes).

        It never blocks: what becomes of it arrives as Receipt events, and ``wait_sent`` waits for them. Raises
        EmptyMessage, MessageTooLong, BadName, NobodyHere and, with ``verified_only``, NotVerified; then nothing was sent.
        ``id_`` is for callers that minted an id (16 random bytes) before: the same id is taken once.
        """
        check_text(text, suite)
        status = self._status
        if status.state in (ConnectionState.REFUSED, ConnectionState.CLOSED):
            raise status.error or LocalProtocolError(what="sending with a client that is closed")
        everyone = to == EVERYONE
        names = tuple(peer.user for peer in self.audience(verified_only=verified_only)) if everyone else _names(to)
        if not names:
            if everyone and verified_only and self.audience():
                raise NobodyVerified
            raise NobodyHere if everyone else EmptyMessage
        if verified_only and not everyone:
            for name in names:
                self._must_be_verified(name)
        id_ = id_ or os.urandom(MID_BYTES)
        with self._changed:
            if id_ in self._outcomes:
                return id_
            self._outcomes[id_] = dict.fromkeys(names, Outcome.QUEUED)
            if len(self._outcomes) > _TRACKED_MAX:
                self._outcomes.popitem(last=False)
        self._hand_over(MessageSent(id_, names, everyone, suite, text, instant().ms))
        return id_

    def _hand_over(self, sent: MessageSent) -> None:
        """Give a message to the session: a profile's by way of its outbox, where it is safe when this returns."""
        id_, text, to, everyone, suite = sent.id, sent.text, sent.to, sent.everyone, sent.suite
        if self._profile is None:
            self._happened([sent], None)
            self._transport.call(lambda session, now: session.submit(id_, text, to, everyone=everyone, suite=suite, now=now))
            return
        store = self._profile.store
        try:
            with store.together():
                store.outbox.add(
                    compose(id_, text, to, everyone=everyone, suite=suite, at=sent.at, random=os.urandom),
                )
                store.history.record([sent], sent.at)
        except SecureChatError:
            with self._changed:
                del self._outcomes[id_]
            raise
        self._happened([sent], None)
        self._transport.call(lambda session, now: session.resume(now))

    def wait_sent(self, id_: bytes, timeout: float, *, stored: bool = True) -> dict[str, Outcome]:
        """Wait for each recipient's outcome and return them; after ``timeout`` seconds, as they stand then.

        With ``stored`` a copy on the broker's disk counts; without, it must reach the recipient or fail.
        """

        def settled() -> bool:
            outcomes = self._outcomes.get(id_, {})
            closed = self._status.state in (ConnectionState.CLOSED, ConnectionState.REFUSED)
            return closed or all(one.final or (stored and one is Outcome.STORED) for one in outcomes.values())

        with self._changed:
            self._changed.wait_for(settled, timeout)
            return dict(self._outcomes.get(id_, {}))

    # The transport's side

    def _before_connecting(self) -> bytes | None:
        """Have a bundle that is valid, however long there was no connection; returns the CURVE secret key to use."""
        if self._profile is None:
            return self._invite
        try:
            if self._session and (identity := self._profile.renewed()):
                self._session.adopt(identity)
        except SecureChatError as error:  # the old one is good for 15 more days, if the machine did not sleep
            log.warning("The bundle could not be renewed: %s", error)
        # An invite opens the door; a profile that has come in by it once is known by its own key.
        return self._invite or self._profile.curve_secret

    def _make_session(self) -> Session:
        if self._profile:
            identity = self._profile.identity()
            self._session = Session(identity, self._mode, self.broker.key, random=os.urandom, memory=self._profile.store)
            return self._session
        with ThreadPoolExecutor(2, "securechat-keys") as pool:
            opening = pool.submit(OpeningKey.generate) if self._mode is Mode.FULL else None
            signing = pool.submit(SigningKey.generate)
            identity = guest_identity(
                self.user,
                signing.result(),
                opening.result() if opening else None,
                sid=os.urandom(MID_BYTES),
                now=instant().wall,
            )
        self._session = Session(identity, self._mode, self.broker.key, random=os.urandom)
        return self._session

    def _keep(self, events: list[Event]) -> None:
        if self._history:
            self._history.record(events, instant().ms)

    def _happened(self, events: list[Event], error: SecureChatError | None) -> None:
        """Tell of events; of those that a profile's history keeps, as they stand there, whoever wrote them."""
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
            if self._feed and self._status.state is ConnectionState.REFUSED:
                self._feed.end()
            if news:
                self._bump()

    def _apply(self, event: Event, at: float, error: SecureChatError | None) -> None:
        match event:
            case Welcomed():
                self._set_status(ConnectionState.ONLINE)
                self._joined()
            case MailboxDrained() if self._profile:
                self._profile.drained()
            case RotationDue():
                threading.Thread(target=self._rotate, name="securechat-rotation", daemon=True).start()
            case Refused(why):
                self._set_status(ConnectionState.REFUSED, str(why), why)
            case Disconnected(why_text):
                self._set_status(ConnectionState.OFFLINE, why_text, error)
            case RosterChanged():
                self._rosters += 1
            case Receipt(id_, user, outcome) if user in self._outcomes.get(id_, {}):
                if overtakes(outcome, self._outcomes[id_][user]):
                    self._outcomes[id_][user] = outcome
            case _:
                pass
        self._timeline.apply(event, at)

    def _joined(self) -> None:
        if self._profile:
            self._invite = None
            self._profile.joined(self.broker)

    def _rotate(self) -> None:
        try:
            identity = self._profile.rotate() if self._profile else None
        except SecureChatError as error:  # it is due again in an hour
            log.warning("A new encryption key could not be made: %s", error)
            return
        if identity:
            self._transport.call(lambda session, _: session.adopt(identity))

    def _set_status(self, state: ConnectionState, why: str = "", error: SecureChatError | None = None) -> None:
        before = self._status
        since = before.since if before.state is state else time.time()
        self._status = ConnectionStatus(state, since, why, error)
        if state is not before.state and before.state is not ConnectionState.CONNECTING:
            if state is ConnectionState.OFFLINE:
                self._timeline.say(f"connection lost: {why}", time.time())
            elif state is ConnectionState.ONLINE:
                self._timeline.say("connected again", time.time())
        self._bump()

    def _bump(self) -> None:
        self._version += 1
        self._changed.notify_all()


def _names(to: Sequence[str] | str) -> tuple[str, ...]:
    names = (to,) if isinstance(to, str) else tuple(to)
    return tuple(dict.fromkeys(check_name(name) for name in names))
