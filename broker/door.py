"""The door: who may log in, under which name. It decides; the router says so."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from broker.directory import Connection, Directory
from broker.ledger import Admitted, Bundled, Claimed, Ledger, LogEvent
from core.bundle import Kind, SignedBundle, read_bundle
from core.clock import Instant
from core.encoding import b64url
from core.errors import BadBundle, BadSignature, KeyRefused
from core.limits import LOGIN_TIME_MAX, NONCE_BYTES, PROTOCOL_VERSION, UNPROVEN_MAX
from core.login import LoginContext, check_proof
from core.messages import Hello, Mode, Reason
from core.rsa import VerifyKey


class Entrance(Enum):
    """What a login that is not refused comes to."""

    GRANTED = "granted"
    WAITING = "waiting"  # until what it depends on is safely in the log


@dataclass(frozen=True, slots=True)
class Login:
    """What a connection is judged by: its CURVE key, what it said of itself and when (monotonic seconds), and the broker's
    fresh nonce.
    """  # noqa: D205 - one sentence

    connection: Connection
    client_key: bytes
    hello: Hello
    since: float
    challenge: bytes


class Door:
    """The connections that have not logged in yet, and the rules by which they may.

    A guest's name belongs to its key while a connection of that key lives; a profile's belongs to its key for good, by the
    log. What ``to_log`` gets comes back through ``committed`` once it is safe.
    """

    def __init__(
        self,
        broker_key: bytes,
        directory: Directory,
        ledger: Ledger,
        to_log: Callable[[LogEvent], None],
        *,
        random: Callable[[int], bytes],
    ) -> None:
        self._broker_key: Final = broker_key
        self._directory: Final = directory
        self._ledger: Final = ledger
        self._to_log = to_log
        self._random = random
        self._unproven: dict[bytes, Login] = {}
        self._claims: dict[bytes, tuple[Connection, Claimed | Admitted]] = {}
        self._bundles: dict[str, list[Bundled]] = {}  # by user: the one on its way to the log, and the newest since

    def find(self, rid: bytes) -> Connection | None:
        """The connection with this routing id, if it is at its login."""
        login = self._unproven.get(rid)
        return login.connection if login else None

    def greet(self, rid: bytes, client_key: bytes, hello: Hello, now: Instant) -> Login | Reason:
        """Take a HELLO; the ``challenge`` is to be sent."""
        if PROTOCOL_VERSION not in hello.versions:
            return Reason.VERSION
        if len(self._unproven) >= UNPROVEN_MAX:
            return Reason.BUSY
        login = Login(Connection(rid, hello, now.mono), client_key, hello, now.mono, self._random(NONCE_BYTES))
        self._unproven[rid] = login
        return login

    def check(self, connection: Connection, signature: bytes, now: Instant) -> Reason | Entrance:
        """Judge a PROVE: the proof, the bundle, then the name."""
        login = self._unproven[connection.rid]
        hello = login.hello
        context = LoginContext(self._broker_key, login.client_key, hello.nonce, login.challenge, hello.user)
        try:
            ik = VerifyKey(hello.ik)
            check_proof(ik, context, signature)
            if hello.bundle is not None:
                bundle = read_bundle(hello.bundle, hello.user)
                if bundle.ik.kid != ik.kid or bundle.kind is not hello.kind or not bundle.valid_at(now.ms):
                    return Reason.LOGIN_FAILED
        except (KeyRefused, BadSignature, BadBundle):
            return Reason.LOGIN_FAILED
        profile = hello.kind is Kind.PROFILE
        if (profile and hello.curve is None) or (hello.mode is Mode.FULL and hello.bundle is None):
            return Reason.LOGIN_FAILED
        if self._directory.holder(hello.user) not in (None, ik.kid):
            return Reason.NAME_TAKEN
        if not self._directory.has_room(hello.user):
            return Reason.BUSY
        return self._check_name(login, now)

    def _check_name(self, login: Login, now: Instant) -> Reason | Entrance:
        """Whether the log lets this key use this name and come in this way; what is new goes into the log first."""
        connection, client_key, hello = login.connection, login.client_key, login.hello
        kid = connection.kid
        owner = self._ledger.owner(hello.user)
        claimed = any(claim.user == hello.user and claim.kid != kid for _, claim in self._claims.values())
        if claimed or (owner and (hello.kind is Kind.GUEST or owner.kid != kid)):
            return Reason.NAME_TAKEN
        key, invite = self._ledger.invite(client_key) or (None, None)
        if owner or (invite and (hello.user, kid) in invite.guests):
            return Entrance.GRANTED
        kind = Claimed if hello.kind is Kind.PROFILE else Admitted
        for _, claim in self._claims.values():
            if type(claim) is kind and (claim.user, claim.kid, claim.invite) == (hello.user, kid, key):
                self._claims[connection.rid] = (connection, claim)  # it came back before its claim was written
                return Entrance.WAITING
        if len(self._claims) >= UNPROVEN_MAX:  # the log is slow, or cannot be written now
            return Reason.BUSY
        if invite:
            on_their_way = sum(claim.invite == key for _, claim in self._claims.values())
            if not invite.open_at(now.wall) or invite.used + on_their_way >= invite.uses:
                return Reason.NOT_INVITED
        elif hello.kind is Kind.PROFILE and hello.curve != client_key:
            return Reason.NOT_INVITED  # by no key that is known; and anybody could name somebody else's to be known by
        # A profile's CURVE key lets that profile in, and nobody else: an invite's uses would not count otherwise.
        if self._ledger.names_of((hello.curve or b"") if invite else client_key):
            return Reason.NOT_INVITED
        event: Claimed | Admitted
        if hello.kind is Kind.PROFILE:
            event = Claimed(hello.user, kid, b64url(hello.curve or b""), key, int(now.wall))
        elif key:
            event = Admitted(hello.user, kid, key, int(now.wall))
        else:
            return Entrance.GRANTED
        self._claims[connection.rid] = (connection, event)
        self._to_log(event)
        return Entrance.WAITING

    def committed(self, events: Iterable[LogEvent]) -> Iterator[tuple[Connection, Reason | Entrance]]:
        """Take what is safely in the log, in its order; yields the logins that waited for it, with what they come to."""
        for event in events:
            self._ledger.apply(event)
            for rid, (connection, claim) in list(self._claims.items()):
                if claim == event:
                    del self._claims[rid]
                    owner = self._ledger.owner(claim.user)
                    lost = isinstance(claim, Claimed) and (owner is None or owner.kid != claim.kid)
                    if self.find(rid) is connection:
                        yield connection, Reason.NAME_TAKEN if lost else Entrance.GRANTED
            if isinstance(event, Bundled) and event in self._bundles.get(event.user, ()):
                _, *newer = self._bundles.pop(event.user)
                for bundle in newer:
                    self._log_bundle(bundle)

    def note_bundle(self, connection: Connection, signed: SignedBundle, now: Instant) -> int | None:
        """Log a newer bundle of the profile that has this connection; returns its ``seq``.

        None for a bundle that cannot be believed, or is of another name, kind or key.
        """
        user = connection.user
        try:
            bundle = read_bundle(signed, user)
        except BadBundle:
            return None
        owner, kid = self._ledger.owner(user), b64url(bundle.ik.kid)
        if kid != connection.kid or bundle.kind is not connection.kind or not bundle.valid_at(now.ms):
            return None
        # A name can have been released while its old owner is connected.
        if owner and owner.kid == kid and bundle.seq > self._ledger.newest_bundle(user):
            self._log_bundle(Bundled(user, kid, bundle.seq, signed.body, signed.signature, int(now.wall)))
        return bundle.seq

    def _log_bundle(self, bundle: Bundled) -> None:
        """Log it, or keep it until the one before is in the log: of those that come meanwhile, only the newest matters."""
        waiting = self._bundles.setdefault(bundle.user, [])
        if not waiting:
            self._to_log(bundle)
            waiting.append(bundle)
        elif bundle.kid != waiting[-1].kid or bundle.seq > waiting[-1].seq:
            waiting[1:] = [bundle]

    def admit(self, connection: Connection) -> Hello:
        """The connection has logged in; returns what it had said of itself."""
        return self._unproven.pop(connection.rid).hello

    def leave(self, connection: Connection) -> None:
        """The connection has gone. A name that it has claimed meanwhile is its all the same, once in the log,
        and nobody else's until then.
        """  # noqa: D205 - one sentence
        self._unproven.pop(connection.rid, None)

    def overdue(self, now: Instant) -> list[tuple[Connection, Reason]]:
        """Connections that have been at their login for too long, with what to tell them.

        Whoever waits for the log comes in later: a claim that is on its way to the disk counts once it is there.
        """
        late = (one.connection for one in self._unproven.values() if now.mono - one.since > LOGIN_TIME_MAX)
        return [(one, Reason.BUSY if one.rid in self._claims else Reason.LOGIN_FAILED) for one in late]
