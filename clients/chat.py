"""ChatClient: the one API under the command line, the page, and bots; docs/BOTS.md has whole programs."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Final

from clients.chronicle import Chronicle, ConnectionState, ConnectionStatus
from clients.courier import Courier
from clients.files import Files
from clients.guests import make_guest
from clients.others import Arrival, Others
from clients.tickets import SessionTickets, Tickets
from clients.timeline import Line
from clients.transport import Transport, instant
from core.address import BrokerAddress
from core.bundle import Kind, Suite
from core.content import File, Sendable, Text
from core.envelope import check_content
from core.errors import (
    BrokerUnreachable,
    EmptyMessage,
    LocalProtocolError,
    NobodyHere,
    NobodyVerified,
    NotVerified,
    SecureChatError,
)
from core.events import Event, MailboxDrained, MessageSent, Outcome, RotationDue, Trust, Welcomed
from core.limits import MID_BYTES
from core.memory import Memory, SessionMemory
from core.messages import Mode
from core.names import EVERYONE, check_name
from core.outbox import compose
from core.session import Session

if TYPE_CHECKING:
    from clients.profiles import OpenProfile

log = logging.getLogger("securechat.chat")


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
        self.profile: Final = None if isinstance(user, str) else user
        self.user: Final = check_name(user) if isinstance(user, str) else user.user
        if self.profile:
            self.profile.check_broker(broker)
        self._invite = broker.invite
        self.broker: Final = broker
        self._mode = mode
        history = self.profile.store.history if self.profile else None
        self._chronicle = Chronicle(self.user, history, feed=events, back=mode is Mode.FULL)
        self._memory: Memory = self.profile.store if self.profile else SessionMemory()
        self._tickets: Tickets = self.profile.store.tickets if self.profile else SessionTickets()
        self._session: Session | None = None
        self._transport = Transport(
            broker, self._make_session, self._happened, self._before_connecting, self._keep, self._was_let_in
        )

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
            state = self.status.state
            return state is not ConnectionState.CONNECTING and not (state is ConnectionState.OFFLINE and self.in_doubt)

        if not self._chronicle.wait(settled, timeout):
            raise BrokerUnreachable(where=self.broker.where, why=f"no answer in {timeout:g} seconds")
        status = self.status
        if status.state is not ConnectionState.ONLINE:
            raise status.error or BrokerUnreachable(where=self.broker.where, why=status.why or "the client is closed")

    def retry_now(self) -> None:
        """Try to reconnect at once instead of after the pause."""
        self._transport.retry_now()

    def begin_close(self) -> None:
        """Begin to close; returns at once. Whoever closes several begins with all, and does not wait for each in turn."""
        self._transport.begin_stop()

    def close(self) -> None:
        """Say goodbye and end. What was not sent by then stays in a profile's outbox; a guest's is gone with its keys."""
        self._transport.stop()
        self._chronicle.close()

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
        return self._chronicle.status

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
        return self._chronicle.version

    @property
    def others(self) -> Others | None:
        """What this user has decided about others, and where to decide; None until the keys are made, and once closed."""
        if self.kid is None or self.status.state is ConnectionState.CLOSED:
            return None
        return Others(self.user, self.kid, self._memory, self._arrival, self._chronicle.bump)

    def users(self) -> tuple[Peer, ...]:
        """Who else is here, by name; the last known while offline. In mode ``send``, ask first: ``fetch_users``."""
        if self._session is None or self.status.state is ConnectionState.CLOSED:
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
        peers = [peer for peer in (*self.users(), *self._away()) if peer.trust is not Trust.BLOCKED]
        return tuple(peer for peer in peers if not verified_only or peer.trust is Trust.VERIFIED)

    def _away(self) -> Iterator[Peer]:
        """The profiles that this profile has met and that are not here; a guest's memory is too short for that."""
        if self._session is None or self.profile is None:
            return
        peers = self._session.peers
        for pin in self._memory.pins():
            if pin.profile and pin.user != self.user and pin.user not in peers.present:
                yield Peer(pin.user, Kind.PROFILE, pin.kid, peers.trust_of(pin.user, pin.kid))

    def _must_be_verified(self, user: str) -> None:
        pin = self._memory.pin(user)
        if pin is None or pin.verified is None or pin.blocked:
            raise NotVerified(user=user)

    def fetch_users(self, timeout: float) -> tuple[Peer, ...]:
        """Ask the broker once who is here, for a client in mode ``send``; raises BrokerUnreachable."""
        before = self._chronicle.rosters

        def ask(session: Session, _: object) -> list[Event]:
            session.ask_users()
            return []

        self._transport.call(ask)
        if not self._chronicle.wait(lambda: self._chronicle.rosters > before, timeout):
            raise BrokerUnreachable(where=self.broker.where, why=f"no list of users in {timeout:g} seconds")
        return self.users()

    def conversations(self) -> tuple[str, ...]:
        """``everyone``, then each peer there has been a message with."""
        return self._chronicle.conversations()

    def timeline(self, conversation: str) -> tuple[Line, ...]:
        """A conversation's lines, oldest first: a peer's name, or ``everyone``."""
        return self._chronicle.lines(conversation)

    def events(self, timeout: float | None = None, *, cursor: str | None = None, since: int | None = None) -> Iterator[Event]:
        """What happened since the client was made, one by one, each once; waits for more.

        With ``cursor``, a profile's consumer of that name goes on where it stopped, also in an earlier run: an event counts
        as done when the next one is asked for. ``since`` is a number in the history to begin after instead. Ends when the
        client is closed or refused; raises TimeRanOut after ``timeout`` seconds in all.
        """
        return self._chronicle.events(timeout, cursor, since)

    def mark_shown(self, cursor: str) -> None:
        """The last event that ``events`` gave is done, too: for a consumer that asks for no more."""
        self._chronicle.mark_shown(cursor)

    # Sending

    def send(
        self,
        what: str | File,
        to: Sequence[str] | str,
        *,
        suite: Suite = Suite.HYBRID,
        id_: bytes | None = None,
        verified_only: bool = False,
    ) -> bytes:
        """Send a text, or an uploaded file, to the named users, or to ``everyone`` who is here now; returns its id (16 bytes).

        It never blocks: what becomes of it arrives as Receipt events, and ``wait_sent`` waits for them. Raises
        EmptyMessage, MessageTooLong, BadName, NobodyHere and, with ``verified_only``, NotVerified; then nothing was sent.
        ``id_`` is for callers that minted an id (16 random bytes) before: the same id is taken once.
        """
        content = what if isinstance(what, File) else Text(what)
        check_content(content, suite)
        status = self.status
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
        if self._chronicle.track(id_, names):
            self._hand_over(MessageSent(id_, names, everyone, suite, content, instant().ms))
        return id_

    def _hand_over(self, sent: MessageSent) -> None:
        """Give a message to the session: a profile's by way of its outbox, where it is safe when this returns."""
        id_, content, to, everyone, suite = sent.id, sent.content, sent.to, sent.everyone, sent.suite
        if self.profile is None:
            self._handed_over(content)
            self._happened([sent], None)
            self._transport.call(lambda session, now: session.submit(id_, content, to, everyone=everyone, suite=suite, now=now))
            return
        store = self.profile.store
        try:
            with store.together():
                store.outbox.add(compose(id_, content, to, everyone=everyone, suite=suite, at=sent.at, random=os.urandom))
                store.history.record([sent], sent.at)
                self._handed_over(content)
        except SecureChatError:
            self._chronicle.untrack(id_)
            raise
        self._happened([sent], None)
        self._transport.call(lambda session, now: session.resume(now))

    def _handed_over(self, content: Sendable) -> None:
        """Its message is on its way: there is no upload to go on with."""
        if isinstance(content, File):
            self._tickets.drop(content.blob)

    def wait_sent(self, id_: bytes, timeout: float, *, stored: bool = True) -> dict[str, Outcome]:
        """Wait for each recipient's outcome and return them; after ``timeout`` seconds, as they stand then.

        With ``stored`` a copy on the broker's disk counts; without, it must reach the recipient or fail.
        """

        def settled() -> bool:
            outcomes = self._chronicle.outcomes(id_).values()
            closed = self.status.state in (ConnectionState.CLOSED, ConnectionState.REFUSED)
            return closed or all(one.final or (stored and one is Outcome.STORED) for one in outcomes)

        self._chronicle.wait(settled, timeout)
        return self._chronicle.outcomes(id_)

    # Files

    @property
    def files(self) -> Files:
        """Where files are uploaded, before they are sent, and downloaded."""
        return Files(self._make_courier, self._tickets)

    def _make_courier(self) -> Courier:
        if self._session is None:
            raise LocalProtocolError(what="a file before the keys are made")
        return Courier(self._session.me, self.broker, self._curve_secret)

    # The transport's side

    def _before_connecting(self) -> bytes | None:
        """Have a bundle that is valid, however long there was no connection; returns the CURVE secret key to use."""
        try:
            if self.profile and self._session and (identity := self.profile.renewed()):
                self._session.adopt(identity)
        except SecureChatError as error:  # the old one is good for 15 more days, if the machine did not sleep
            log.warning("The bundle could not be renewed: %s", error)
        return self._curve_secret()

    def _was_let_in(self) -> bool:
        return self._chronicle.rosters > 0 or (self.profile is not None and self.profile.broker is not None)

    def _curve_secret(self) -> bytes | None:
        # An invite opens the door; a profile that has come in by it once is known by its own key.
        return self._invite or (self.profile.curve_secret if self.profile else None)

    def _make_session(self) -> Session:
        receives = self._mode is Mode.FULL
        identity = self.profile.identity() if self.profile else make_guest(self.user, receives=receives)
        self._session = Session(identity, self._mode, self.broker.key, random=os.urandom, memory=self._memory)
        return self._session

    def _keep(self, events: list[Event]) -> None:
        if self.profile:
            self.profile.store.history.record(events, instant().ms)

    def _happened(self, events: list[Event], error: SecureChatError | None) -> None:
        self._chronicle.happened(events, error)
        if self.profile is None:
            return
        for event in events:
            match event:
                case Welcomed():
                    self._invite = None
                    self._note(lambda profile: profile.joined(self.broker))
                case MailboxDrained():
                    self._note(lambda profile: profile.drained())
                case RotationDue():
                    threading.Thread(target=self._rotate, name="securechat-rotation", daemon=True).start()
                case _:
                    pass

    def _note(self, write: Callable[[OpenProfile], None]) -> None:
        """Write down what the next run would like to know, and this one can do without."""
        try:
            if self.profile:
                write(self.profile)
        except SecureChatError as error:
            log.warning("%s", error)

    def _arrival(self, user: str) -> Arrival | None:
        since = self._chronicle.arrival(user)
        entry = self._session.peers.present.get(user) if self._session else None
        return Arrival(entry, since) if entry is not None and since is not None else None

    def _rotate(self) -> None:
        try:
            identity = self.profile.rotate() if self.profile else None
        except SecureChatError as error:  # it is due again in an hour
            log.warning("A new encryption key could not be made: %s", error)
            return
        if identity:
            self._transport.call(lambda session, _: session.adopt(identity))


def _names(to: Sequence[str] | str) -> tuple[str, ...]:
    names = (to,) if isinstance(to, str) else tuple(to)
    return tuple(dict.fromkeys(check_name(name) for name in names))
