"""The post office: between connections and mailboxes. What cannot be given to a user at once is kept for the user's name.

Order is kept thus: while anything that is stored, or on its way to the disk, has not been given to a connection of a user,
everything new for that user goes to the disk behind it. No sockets and no disk; it says what is to be sent and written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from broker.catchup import Held, Plan
from broker.directory import Body, Connection, Copy, Directory
from broker.ledger import Ledger
from broker.mail_values import (
    Answer,
    Committed,
    Drop,
    FindOld,
    FoundOld,
    Load,
    Loaded,
    LoadedReceipts,
    NotLoaded,
    Operation,
    Put,
    Unstored,
)
from broker.mailbox import Box, Mailbox, Unwritten
from broker.news import News
from broker.outbox import Outbox
from broker.quota import Quota
from core import frames
from core.clock import Instant
from core.frames import NO_PROOF
from core.limits import COPY_ID_BYTES, WINDOW_BYTES, WINDOW_COPIES
from core.messages import CaughtUp, Mode, Status

_PORTION_COPIES: Final = 64
_PORTION_BYTES: Final = 1024 * 1024
_EXPIRY: Final = 3600.0  # seconds between looks for what is too old, or a tenth of the retention if that is less


class Post:
    """Keeps mail for names that profiles hold. Work for the disk gathers in ``to_disk``; ``completed`` takes the answers."""

    def __init__(
        self,
        directory: Directory,
        ledger: Ledger,
        quota: Quota,
        next_copy: Callable[[], int],
        find: Callable[[bytes], Connection | None],
        outbox: Outbox,
    ) -> None:
        self.to_disk: Final[list[Operation]] = []
        self.mailbox: Final = Mailbox(ledger, quota, self.to_disk.append)
        self.wall = 0
        self._directory: Final = directory
        self._next_copy = next_copy
        self._find = find
        self._outbox: Final = outbox
        self.news: Final = News(directory, self.mailbox, self.to_disk, outbox)
        self._expire_at = 0.0

    # Keeping

    def keep(
        self, sender: Connection, mid: bytes, place: int, user: str, common: Body, wrap: bytes | None, otherwise: Status
    ) -> None:
        """Take a copy that cannot be given to this user now; ``otherwise`` is the result for whoever has no mailbox."""
        box = self.mailbox.of(user)
        size = len(common) + len(wrap or b"")
        status = self.mailbox.refusal(box, size) if box else otherwise
        if box is None or status:
            self._outbox.result(sender, mid, place, status or otherwise)
            return
        number = self._next_copy()
        self._put(number, box, sender, mid, place, common, wrap, size)
        if receiving := self._directory.receiving(user):
            self._plan(user, number, receiving)

    def secure(self, user: str, number: int, copy: Copy) -> Status | None:
        """Put a copy that was given out but not acknowledged on the disk, too; returns why that cannot be."""
        sender, mid, place, size, targets, body = copy
        box = self.mailbox.of(user)
        if box is None or body is None:
            return Status.GONE
        if status := self.mailbox.refusal(box, size):
            return status
        common, wrap = body if isinstance(body, tuple) else (body, None)
        self._put(number, box, sender, mid, place, common, wrap, size, copy)
        for target in targets:
            if target.copies.pop(number, None):
                target.catch_up.held[number] = Held(size, mid, sender.user, sender.kid)
        return None

    def _put(
        self,
        number: int,
        box: Box,
        sender: Connection,
        mid: bytes,
        place: int,
        common: Body,
        wrap: bytes | None,
        size: int,
        live: Copy | None = None,
    ) -> None:
        put = Put(number, box.user, box.kid, self.wall, sender.user, sender.kid, mid, bytes(common), wrap)
        self.mailbox.put(put, Unwritten(box, sender, mid, place, size, live))

    def _plan(self, user: str, number: int, connections: Iterable[Connection]) -> None:
        """Have these connections, who lack the copy, be given it."""
        box = self.mailbox.of(user)
        for one in connections:
            plan = one.catch_up.plan
            plan.add(number)
            if box and len(plan) > 2 * len(box.sizes) + _PORTION_COPIES:  # acknowledged elsewhere, most of them
                plan.keep(box.sizes)
        self._refresh(user)

    # Connections that come, and go, and acknowledge

    def waiting(self, connection: Connection) -> int:
        """How many copies this connection, which has just logged in, will be given. Begins nothing yet."""
        box = self.mailbox.of(connection.user)
        if box is None or connection.mode is not Mode.FULL:
            return 0
        # What its siblings were given before it came, and may still leave behind, goes before anything newer.
        for sibling in self._directory.receiving(connection.user):
            for number, copy in list(sibling.copies.items()):
                self.secure(connection.user, number, copy)
        catch_up = connection.catch_up
        catch_up.plan = Plan(box.sizes)
        catch_up.until = max(box.sizes, default=0) + 1
        return len(catch_up.plan)

    def begin(self, connection: Connection) -> None:
        """Give a connection what waits for it: it has been welcomed."""
        if self.mailbox.of(connection.user) is None:
            return
        self.news.load(connection)
        if connection.mode is Mode.FULL:
            self.feed(connection)

    def gone(self, connection: Connection) -> None:
        """A connection has left the directory. What it held, and nobody else, is for its siblings, or waits."""
        user, catch_up = connection.user, connection.catch_up
        siblings = self._directory.receiving(user)
        box = self.mailbox.of(user)
        for number, copy in list(connection.copies.items()):
            if any(number in one.copies for one in siblings):
                continue
            if status := self.secure(user, number, copy):
                self._outbox.result(copy[0], copy[1], copy[2], status)
        if box and siblings:
            for number in (*catch_up.held, *catch_up.loading, *catch_up.plan):
                if number in box.sizes and not any(one.catch_up.wants(number) for one in siblings):
                    self._plan(user, number, siblings)
            for one in siblings:
                self.feed(one)
        connection.copies.clear()
        catch_up.held.clear()
        catch_up.plan.clear()
        self._refresh(user)

    def acked(self, connection: Connection, number: int, proof: bytes) -> int:
        """An ACK of a copy that is stored; returns how many bytes the connection holds less."""
        held = connection.catch_up.held.pop(number, None)
        if held is None:
            return 0  # it was never given to this connection
        box = self.mailbox.of(connection.user)
        if box is None or number not in box.sizes:
            return held.size
        siblings = [one for one in self._directory.receiving(connection.user) if one is not connection]
        refused = proof == NO_PROOF
        if refused and any(one.catch_up.wants(number) for one in siblings):
            return held.size  # another connection of the same user may still open it
        status = Status.REFUSED if refused else Status.DELIVERED
        self._settle(box, number, held, status, None if refused else proof)
        for one in siblings:
            if one.catch_up.held.pop(number, None):
                one.bytes_out -= held.size
            if one.catch_up.pending:
                self.feed(one)
        return held.size

    def _settle(self, box: Box, number: int, held: Held, status: Status, proof: bytes | None) -> None:
        """A copy needs to be kept no more: forget it, and tell its sender."""
        unwritten = self.mailbox.unwritten.get(number)
        receipt = None
        if unwritten is None:
            self._outbox.counts[status] += 1
            receipt = self.mailbox.receipt(held.sender, held.sender_kid, self.wall, held.mid, box.user, status, proof)
        elif not unwritten.answered:  # not stored yet, as far as the sender knows: this is the answer
            unwritten.answered = True
            self._outbox.result(unwritten.sender, unwritten.mid, unwritten.place, status, proof)
        self.mailbox.drop(box, number, receipt)

    def undeliverable(self, connection: Connection, number: int) -> None:
        """A copy did not fit into this connection's queue: it is tried again at the next sweep."""
        user = connection.user
        copy = connection.copies.get(number)
        if copy and (status := self.secure(user, number, copy)):
            del connection.copies[number]
            connection.bytes_out -= copy[3]
            if not any(number in one.copies for one in copy[4]):
                self._outbox.result(copy[0], copy[1], copy[2], Status.FULL if status is Status.GONE else status)
            return
        held = connection.catch_up.held.pop(number, None)
        if held:
            connection.bytes_out -= held.size
            connection.catch_up.stuck = True
            self._plan(user, number, [connection])

    def released(self, user: str) -> None:
        """A name was taken from its holder, who may be connected all the same: like a guest from now on."""
        for unwritten in self.mailbox.release(user):
            if not unwritten.answered:
                unwritten.answered = True
                self._outbox.result(unwritten.sender, unwritten.mid, unwritten.place, Status.ABSENT)
        for one in self._directory.connections_of(user):
            catch_up = one.catch_up
            one.bytes_out -= sum(held.size for held in catch_up.held.values())
            catch_up.held.clear()
            catch_up.plan.clear()
            catch_up.loading = ()
            catch_up.until = None
        self._directory.set_live(user, True)

    # Catching up

    def feed(self, connection: Connection) -> None:
        """Have the next portion read for a connection, as far as its window allows; say so if it has caught up."""
        catch_up = connection.catch_up
        box = self.mailbox.of(connection.user)
        if box is None or catch_up.loading or catch_up.stuck:
            return
        plan, held = catch_up.plan, catch_up.held
        ids: list[int] = []
        room = min(_PORTION_COPIES, WINDOW_COPIES - len(held))
        space = min(_PORTION_BYTES, WINDOW_BYTES - connection.bytes_out)
        while plan:
            number = plan.first
            size = box.sizes.get(number)
            if size is None or number in held or number in connection.copies:
                plan.skip()
            elif number in self.mailbox.unwritten or len(ids) >= room or size > space:
                break
            else:
                plan.skip()
                ids.append(number)
                space -= size
        if ids:
            catch_up.loading = tuple(ids)
            self.to_disk.append(Load(connection.rid, catch_up.loading))
        elif catch_up.until is not None and (not plan or plan.first >= catch_up.until):
            catch_up.until = None
            self._outbox.say(connection, CaughtUp())
        self._refresh(connection.user)

    def _refresh(self, user: str) -> None:
        self._directory.set_live(user, not any(one.catch_up.pending for one in self._directory.receiving(user)))

    def _give(self, connection: Connection, loaded: Loaded) -> None:
        catch_up = connection.catch_up
        if loaded.asked.ids != catch_up.loading:
            return  # asked for an earlier connection of this routing id, or before the name changed hands
        if catch_up.stuck:  # it would come before what is to be tried again
            self._plan_again(connection)
            return
        catch_up.loading = ()
        box = self.mailbox.of(connection.user)
        for copy in loaded.copies:
            if box is None or copy.id not in box.sizes:
                continue  # acknowledged elsewhere meanwhile
            catch_up.held[copy.id] = Held(copy.size, copy.mid, copy.sender, copy.sender_kid)
            connection.bytes_out += copy.size
            number = copy.id.to_bytes(COPY_ID_BYTES, "big")
            self._outbox.give(connection, frames.deliver(number, copy.mid, copy.sender, copy.common, copy.wrap))
        self.feed(connection)

    # What the disk says

    def completed(self, answers: Sequence[Answer]) -> None:
        """Take what the disk says, in its order."""
        fed: dict[Connection, None] = {}
        for answer in answers:
            match answer:
                case Committed(operations):
                    puts = [one for one in operations if type(one) is Put]
                    for one in puts:
                        self._stored(one)
                    for user in {one.user for one in puts}:
                        fed.update(dict.fromkeys(self._directory.receiving(user)))
                    self.news.tell([one.receipt for one in operations if isinstance(one, Drop) and one.receipt])
                case Unstored(ids):
                    for number in ids:
                        fed.update(dict.fromkeys(self._not_stored(number)))
                case Loaded(asked):
                    if connection := self._find(asked.rid):
                        self._give(connection, answer)
                case NotLoaded(asked):
                    if (connection := self._find(asked.rid)) and connection.catch_up.loading == asked.ids:
                        self._plan_again(connection)
                case LoadedReceipts(asked, receipts):
                    if connection := self._find(asked.rid):
                        self.news.give(connection, asked, receipts)
                case FoundOld():
                    self._expire(answer)
        for connection in fed:
            if connection.catch_up.pending:
                self.feed(connection)

    def _stored(self, put: Put) -> None:
        unwritten = self.mailbox.written(put.id)
        if unwritten and not unwritten.answered:
            self._outbox.result(unwritten.sender, unwritten.mid, unwritten.place, Status.STORED)

    def _not_stored(self, number: int) -> Sequence[Connection]:
        """A copy did not reach the disk; returns the connections that may go on without it."""
        unwritten = self.mailbox.written(number)
        if unwritten is None:
            return ()
        box, copy = unwritten.box, unwritten.live
        self.mailbox.forget(box, number)
        receiving = self._directory.receiving(box.user)
        holding = tuple(one for one in receiving if number in one.catch_up.held)
        for one in holding:
            del one.catch_up.held[number]
            if copy and not unwritten.answered:  # as before: given out, and not stored
                one.copies[number] = (*copy[:4], holding, copy[5])
            else:
                one.bytes_out -= unwritten.size
        if not unwritten.answered and not (copy and holding):
            self._outbox.result(unwritten.sender, unwritten.mid, unwritten.place, Status.UNSTORED)
        return receiving

    def _plan_again(self, connection: Connection) -> None:
        """What could not be read, or would come too early, is read again after the next sweep."""
        catch_up = connection.catch_up
        for number in catch_up.loading:
            catch_up.plan.add(number)
        catch_up.loading = ()

    # Time

    def sweep(self, now: Instant, connections: Iterable[Connection], before: int) -> None:
        """About once a second: store copies numbered below ``before`` that are still not acknowledged."""
        self.wall = int(now.wall)
        for connection in connections:
            connection.catch_up.stuck = False
            if connection.catch_up.pending:
                self.feed(connection)
            if connection.copies and self.mailbox.of(connection.user):
                for number in [one for one in connection.copies if one < before]:
                    self.secure(connection.user, number, connection.copies[number])
        if now.mono >= self._expire_at:
            self._expire_at = now.mono + min(_EXPIRY, self.mailbox.quota.seconds / 10)
            self.to_disk.append(FindOld(self.wall - self.mailbox.quota.seconds))

    def _expire(self, found: FoundOld) -> None:
        """Drop what is too old, but for those who are here to get it, and tell the senders."""
        for old in found.copies:
            box = self.mailbox.of(old.user)
            if box and old.id in box.sizes and not self._directory.receiving(old.user):
                held = Held(0, old.mid, old.sender, old.sender_kid)
                self._settle(box, old.id, held, Status.EXPIRED, None)
        for number, user in found.receipts:
            self.mailbox.noted(user, number)  # and what is older still
        if found.next:
            self.to_disk.append(found.next)
