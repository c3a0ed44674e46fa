"""The client's side of the protocol as a state machine: frames and commands in, frames and events out.

It never waits, opens or prints anything; whoever runs it moves the frames and says what time it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Final

from core import frames, messages
from core.bundle import Kind, Suite
from core.clock import Instant
from core.content import Sendable, Unknown
from core.encoding import b64url
from core.errors import (
    InvalidEnvelope,
    LocalProtocolError,
    LoginRefused,
    NameTaken,
    NotInvited,
    NotPinned,
    RemoteProtocolError,
    Replayed,
    VersionRefused,
)
from core.events import (
    Disconnected,
    Event,
    MailboxDrained,
    Message,
    MessageReceived,
    MessageRefused,
    Outcome,
    Receipt,
    Refused,
    RotationDue,
    Welcomed,
)
from core.frames import Frames
from core.identity import Identity
from core.limits import (
    ACKS_MAX,
    HEARTBEAT,
    NONCE_BYTES,
    PROTOCOL_VERSION,
    ROTATE_AGAIN,
    SILENCE_MAX,
)
from core.login import LoginContext, prove
from core.memory import Memory, SessionMemory, Taken
from core.messages import (
    Bundles,
    Bye,
    CaughtUp,
    Challenge,
    Deliver,
    Error,
    Extent,
    Hello,
    Kept,
    Mode,
    NoBlob,
    Noted,
    Piece,
    Ping,
    Pong,
    Prove,
    Reason,
    Renew,
    Results,
    Roster,
    Users,
    Welcome,
)
from core.opening import Delivery, Opened, Recipient, open_envelope
from core.order import Place, place
from core.outbox import compose
from core.peers import Peers
from core.sending import Sending
from core.states import TRANSITIONS, Connect, Cue, Leave, Lost, State


class Session:
    """One identity's session with one broker, over as many connections as it takes.

    Each call goes ``together`` with what it writes; what is then ``outgoing`` speaks of what is kept.

    ``broker_key`` is the broker's CURVE public key (32 bytes), ``random`` gives that many random bytes.
    """

    def __init__(
        self, me: Identity, mode: Mode, broker_key: bytes, *, random: Callable[[int], bytes], memory: Memory | None = None
    ) -> None:
        if mode is Mode.FULL and me.bundle is None:
            raise LocalProtocolError(what="a session that receives needs an encryption key")
        self.me = me
        self._rotation_at = me.rotate_at
        self.mode: Final = mode
        self.state = State.OFFLINE
        self._memory: Memory = memory or SessionMemory()
        self.peers: Final = Peers(self._memory)
        self._broker_key = broker_key
        self._random = random
        self._sending = Sending(me, self.peers, self._memory.outbox, broker_key, random)
        self._out: list[Frames] = []
        self._acks: list[tuple[bytes, bytes]] = []
        self._client_key = b""
        self._nonce = b""
        self._asks_users = False
        self.in_doubt = False  # a login was proven, and what the broker made of it is not known
        self._heard = self._spoke = 0.0
        keys = {b64url(opening.public.kid): opening for opening in me.openings}
        self._recipient = Recipient(me.user, me.kid, keys, broker_key, self.peers.may_receive, self._memory.taken)

    # Commands

    def connect(self, client_key: bytes, now: Instant) -> None:
        """Begin a login on a new connection whose CURVE public key (32 bytes) is ``client_key``."""
        if not self._advance(Connect):
            raise LocalProtocolError(what="a login was begun twice")
        if self.me.renew_at is not None and now.wall >= self.me.renew_at:
            self.me = self.me.renewed(now.wall)
        self._client_key, self._nonce = client_key, self._random(NONCE_BYTES)
        self._heard = now.mono
        self._out.clear()
        self._acks.clear()
        self._say(
            Hello(
                versions=(PROTOCOL_VERSION,),
                mode=self.mode,
                user=self.me.user,
                kind=self.me.kind,
                ik=self.me.signing.public.spki,
                bundle=self.me.bundle,
                curve=self.me.curve,
                nonce=self._nonce,
            )
        )

    def lost(self) -> None:
        """The connection is gone; what was not answered waits for the next one."""
        self._advance(Lost)

    def submit(
        self, id_: bytes, content: Sendable, to: Sequence[str], *, everyone: bool, suite: Suite, now: Instant
    ) -> list[Event]:
        """Take a message (``id_``: 16 fresh random bytes) for sending now or, while offline, later.

        Raises MessageTooLong, NotText, BadName, and LocalProtocolError for an id that was used before.
        """
        envelopes = compose(id_, content, to, everyone=everyone, suite=suite, at=now.ms, random=self._random)
        self._memory.outbox.add(envelopes)
        queued = [Receipt(id_, user, Outcome.QUEUED) for one in envelopes for user in one.to]
        return [*queued, *self.resume(now)]

    def resume(self, now: Instant) -> list[Event]:
        """Send what is in the outbox and waits, whoever put it there."""
        if self.state is not State.READY:
            return []
        out, events = self._sending.pump(now)
        self._out += out
        if out:
            self._spoke = now.mono
        return events

    def together(self) -> AbstractContextManager[None]:
        """What is remembered within is safe together at its end, or not at all. Send what is ``outgoing`` only then."""
        return self._memory.together()

    def forget(self) -> None:
        """What was remembered could not be kept: drop what goes beyond it, unsaid words included; then the connection."""
        self._out.clear()
        self._acks.clear()
        self._sending.forget()

    def release(self) -> None:
        """Let others send what this session has not: it is about to end."""
        self._memory.outbox.release()

    def put(self, out: Iterable[Frames]) -> None:
        """Say this about blobs (``core.transfer``); what comes back are events. Nothing is said while not logged in."""
        if self.state is State.READY:
            self._out += out

    def ask_users(self) -> None:
        """Ask for the whole roster once, at the latest after the login; it arrives as RosterChanged."""
        if self.state is State.READY:
            self._say(Users())
        else:
            self._asks_users = True

    def adopt(self, me: Identity) -> list[Event]:
        """Go on with a newer encryption key of the same identity, and have others told of it."""
        if me.kid != self.me.kid or me.bundle is None:
            raise LocalProtocolError(what="a session cannot change its identity")
        self.me = me
        self._recipient.keys.update((b64url(opening.public.kid), opening) for opening in me.openings)
        self._rotation_at = me.rotate_at
        if self.state is State.READY and self.mode is Mode.FULL:
            self._say(Renew(me.bundle))
        return []

    def say_bye(self) -> None:
        """Tell the broker that this connection is closing; what comes until it has heard that is passed over."""
        if self._advance(Leave):
            self._out = self.outgoing()  # with the acknowledgements: after a BYE none counts
            self._say(Bye())

    def tick(self, now: Instant) -> list[Event]:
        """Keep the heartbeat; call it about once a second. A broker that is silent for too long is given up."""
        if self.state in (State.OFFLINE, State.REFUSED):
            return []
        if now.mono - self._heard > SILENCE_MAX:
            self.lost()
            return [Disconnected("the broker does not answer")]
        events: list[Event] = []
        if self.state is State.READY:
            if now.mono - self._spoke >= HEARTBEAT:
                self._spoke = now.mono
                self._say(Ping())
                self._memory.outbox.hold(now.ms)
            events += self.resume(now)
        if self.me.renew_at is not None and now.wall >= self.me.renew_at:
            events += self.adopt(self.me.renewed(now.wall))
        if self.mode is Mode.FULL and self.state is State.READY and self._rotation_at and now.wall >= self._rotation_at:
            self._rotation_at = now.wall + ROTATE_AGAIN  # unless there is a new key by then
            events.append(RotationDue())
        return events

    def outgoing(self) -> list[Frames]:
        """Take what is to be sent, acknowledgements last: call it when the input has run dry."""
        while self._acks:
            self._out.append(frames.ack(self._acks[:ACKS_MAX]))
            del self._acks[:ACKS_MAX]
        out, self._out = self._out, []
        return out

    # Input

    def receive(self, raw: Sequence[bytes], now: Instant) -> list[Event]:
        """Take one message from the broker; raises RemoteProtocolError if it may not say that, or not now."""
        message = frames.read_from_broker(raw)
        # A broker that is busy says so in an ERROR, but it means what a BYE means: come again later.
        busy = isinstance(message, Error) and message.reason is Reason.BUSY
        leaving = self.state is State.LEAVING
        if not self._advance(Bye if busy else type(message)):
            raise RemoteProtocolError(what=f"{type(message).__name__} while {self.state.value}")
        self._heard = now.mono
        if leaving:  # an ERROR answers the BYE then, and says nothing about the claim
            self.in_doubt = self.in_doubt and not isinstance(message, Welcome)
            return []
        self.in_doubt = self.in_doubt and (busy or isinstance(message, Challenge | Bye))
        match message:
            case Challenge(nonce):
                self._prove(nonce)
            case Welcome(version, _, waiting):
                return self._welcomed(version, waiting, now)
            case Roster():
                changes = self.peers.roster(message)
                return [*changes, *self.resume(now)] if self._sending.came(self.peers.present) else changes
            case Bundles():
                return [*self._sending.found(message, now), *self.resume(now)]
            case Deliver():
                return self._open(message, now)
            case Results(items):
                events = [event for item in items for event in self._sending.answered(item, now)]
                return [*events, *self.resume(now)]
            case Kept(upto, told):
                if upto:
                    self._say(Noted(upto))
                return [event for news in told for event in self._sending.told(news, now)]
            case CaughtUp():
                return [MailboxDrained()]
            case Extent() | NoBlob() | Piece():
                return [message]
            case Ping():
                self._say(Pong())
            case Error(reason):
                return self._refused(reason)
            case Bye():
                return [Disconnected("the broker has closed the connection")]
            case Pong():
                pass
        return []

    def _prove(self, broker_nonce: bytes) -> None:
        context = LoginContext(self._broker_key, self._client_key, self._nonce, broker_nonce, self.me.user)
        self._say(Prove(prove(self.me.signing, context)))
        self.in_doubt = True

    def _welcomed(self, version: int, waiting: int, now: Instant) -> list[Event]:
        if version != PROTOCOL_VERSION:
            raise RemoteProtocolError(what="a version that was not offered")
        if self._asks_users:
            self._asks_users = False
            self._say(Users())
        self._sending.connected(now)
        return [Welcomed(waiting), *self.resume(now)]

    def _advance(self, cue: type[Cue]) -> bool:
        """The one place where the state changes; False for an absent cell, and then nothing has."""
        following = TRANSITIONS[self.state].get(cue)
        if following is not None:
            self.state = following
        return following is not None

    def _refused(self, reason: Reason) -> list[Event]:
        if self.state is State.OFFLINE:
            return [Disconnected(f"the broker said '{reason.value}'")]
        if reason is Reason.NAME_TAKEN:
            return [Refused(NameTaken(user=self.me.user))]
        if reason is Reason.NOT_INVITED:
            return [Refused(NotInvited())]
        if reason is Reason.VERSION:
            return [Refused(VersionRefused())]
        return [Refused(LoginRefused(why=reason.value))]

    def _open(self, message: Deliver, now: Instant) -> list[Event]:
        delivery = Delivery(message.mid, message.sender, message.common, message.wrap)
        try:
            opened = open_envelope(delivery, self._recipient, now.ms)
        except Replayed as again:
            self._acks.append((message.copy_id, again.proof))
            return []
        except InvalidEnvelope as error:
            # Acknowledged without a proof: it would fail the same way each time it came.
            self._acks.append((message.copy_id, frames.NO_PROOF))
            if self.peers.blocks(message.sender):
                return []  # a block that says so each time would be none
            news = self.peers.meet(message.sender, error.kid, Kind.GUEST, now.ms)[1] if isinstance(error, NotPinned) else []
            return [*news, MessageRefused(message.sender, message.mid, error.stage)]
        self._acks.append((message.copy_id, opened.proof))
        kid = opened.sender_key.kid
        trust = self.peers.trust_of(opened.sender, kid)
        _, news = self.peers.meet(opened.sender, kid, opened.kind, now.ms)
        where = self._take(opened, now)
        received = Message(
            id=opened.mid,
            sender=opened.sender,
            kid=kid,
            to=opened.to,
            everyone=opened.everyone,
            ts=opened.ts,
            suite=opened.suite,
            trust=trust,
            content=opened.content,
            place=where,
        )
        return [*news, MessageReceived(received)]

    def _take(self, opened: Opened, now: Instant) -> Place:
        void = () if isinstance(opened.content, Unknown) else opened.content.void
        kid, sid = opened.sender_key.kid, opened.sid
        stream, where = place(
            self._memory.stream(kid, sid),
            opened.n,
            opened.mid,
            self._memory.numbered(kid, sid, opened.n),
            [n for user, n in void if user == self.me.user],
        )
        self._memory.take(Taken(kid, opened.mid, opened.proof, sid, opened.n, stream), now.ms)
        return where

    def _say(self, message: messages.Control) -> None:
        self._out.append(frames.control(message))
