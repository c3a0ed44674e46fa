"""Any history of sends, logins, acknowledgements, losses, crashes and disks in trouble: what was reported stored is delivered
until it is acknowledged, in its order, and nothing is kept for longer than it is needed.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from core.messages import Mode, Status
from tests.broker.office import REFUSED, Office, Peer

OWNERS = ("ann", "bob")
SENDERS = (*OWNERS, "gus")
FINAL = {Status.DELIVERED, Status.REFUSED}
NEVER_KEPT = {Status.FULL, Status.UNSTORED, Status.ABSENT, Status.GONE, Status.RATE}


class Histories(RuleBasedStateMachine):
    """``several`` is whether a user may have several connections."""

    several = True

    def __init__(self) -> None:
        super().__init__()
        self.office = Office(*OWNERS)
        self.order: dict[bytes, int] = {}  # by mid: when it was sent
        self.to: dict[bytes, str] = {}
        self.sender: dict[bytes, str] = {}
        self.results: dict[bytes, list[Status]] = {}  # what senders were told in RESULTs, over all connections
        self.told: dict[bytes, list[Status]] = {}  # … and in KEPTs
        self.opened: set[bytes] = set()
        self.refused: set[bytes] = set()
        self.troubled: set[Peer] = set()  # connections that were there while the disk took nothing

    @initialize()
    def begin(self) -> None:
        for user in SENDERS:
            self.join(user, Mode.FULL)

    def gather(self, peer: Peer) -> None:
        """What a connection was told counts from now on, even if it is lost."""
        for mid, statuses in peer.results.items():
            self.results.setdefault(mid, []).extend(statuses)
        for one in peer.told:
            self.told.setdefault(one.mid, []).append(one.status)

    def peers(self, user: str) -> list[Peer]:
        return [one for one in self.office.peers if one.user == user]

    def pick(self, data: st.DataObject, among: list[Peer]) -> Peer:
        return data.draw(st.sampled_from(among))

    # Rules

    @rule(user=st.sampled_from(SENDERS), mode=st.sampled_from([Mode.FULL, Mode.FULL, Mode.SEND]))
    def join(self, user: str, mode: Mode) -> None:
        present = self.peers(user)
        if len(present) < (3 if self.several else 1):
            peer = self.office.join(user, mode)
            if self.office.disk.unwritable:
                self.troubled.add(peer)

    @precondition(lambda self: self.office.peers)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        peer = self.pick(data, self.office.peers)
        self.office.leave(peer)
        self.gather(peer)

    @precondition(lambda self: self.office.peers)
    @rule(data=st.data(), to=st.sampled_from(OWNERS), count=st.integers(1, 5), wide=st.booleans())
    def send(self, data: st.DataObject, to: str, count: int, wide: bool) -> None:
        peer = self.pick(data, self.office.peers)
        for _ in range(count):
            mid = self.office.fan_out(peer, to) if wide else self.office.send(peer, to)
            self.order[mid] = len(self.order)
            self.to[mid] = to
            self.sender[mid] = peer.user

    @precondition(lambda self: any(peer.unacked for peer in self.office.peers))
    @rule(data=st.data(), all_=st.booleans(), opens=st.sampled_from([True, True, True, False]))
    def acknowledge(self, data: st.DataObject, all_: bool, opens: bool) -> None:
        peer = self.pick(data, [one for one in self.office.peers if one.unacked])
        copies = list(peer.unacked.values())
        chosen = copies if all_ else data.draw(st.lists(st.sampled_from(copies), unique_by=id))
        (self.opened if opens else self.refused).update(one.mid for one in chosen)
        if opens:
            self.office.ack(peer, chosen)
        else:
            self.office.ack(peer, chosen, REFUSED)

    @rule(seconds=st.sampled_from([0, 1, 1, 20]))
    def pass_time(self, seconds: int) -> None:
        self.office.pass_time(seconds)

    @rule(waits=st.booleans())
    def disk_waits(self, waits: bool) -> None:
        self.office.disk_waits = waits
        self.office.settle()

    @rule(unwritable=st.booleans(), unreadable=st.booleans())
    def disk_fails(self, unwritable: bool, unreadable: bool) -> None:
        if unwritable:
            self.troubled.update(self.office.peers)
        self.office.disk.unwritable, self.office.disk.unreadable = unwritable, unreadable

    @precondition(lambda self: self.office.peers)
    @rule(data=st.data(), full=st.booleans())
    def queue_is_full(self, data: st.DataObject, full: bool) -> None:
        connection = self.pick(data, self.office.peers).connection
        (self.office.rejected.add if full else self.office.rejected.discard)(connection)

    @precondition(lambda self: any(peer.kept for peer in self.office.peers))
    @rule(data=st.data())
    def note(self, data: st.DataObject) -> None:
        peer = self.pick(data, [one for one in self.office.peers if one.kept])
        self.office.note(peer, peer.kept[-1].upto)

    @rule()
    def crash(self) -> None:
        for peer in self.office.peers:
            self.gather(peer)
        self.office.restart()
        self.troubled.clear()

    # What holds at any time

    @invariant()
    def each_connection_gets_its_mail_in_order(self) -> None:
        for peer in self.office.peers:
            # What it refused may be offered once more; what could not be stored, and was already given to another
            # connection, may come late.
            mids = [mid for mid in peer.mids if mid not in self.refused]
            if peer in self.troubled and self.several:
                continue
            assert mids == sorted(set(mids), key=self.order.__getitem__)

    @invariant()
    def the_books_are_right(self) -> None:
        router = self.office.router
        box = router.post.mailbox
        assert box.count == sum(len(one.sizes) for one in box._boxes.values())
        assert box.bytes == sum(sum(one.sizes.values()) for one in box._boxes.values())
        assert box._unwritten_bytes == sum(one.size for one in box.unwritten.values())
        for peer in self.office.peers:
            connection = peer.connection
            held = sum(one.size for one in connection.catch_up.held.values())
            assert connection.bytes_out == held + sum(copy[3] for copy in connection.copies.values())
            if connection.mode is Mode.FULL:
                given = {int.from_bytes(copy_id, "big") for copy_id in peer.unacked}
                assert {*connection.copies, *connection.catch_up.held} <= given
        for user in OWNERS:
            receiving = router.directory.receiving(user)
            live = bool(receiving) and not any(one.catch_up.pending for one in receiving)
            assert (user.encode() in router.directory.receivers) is live

    @invariant()
    def no_status_contradicts_another(self) -> None:
        for peer in self.office.peers:
            for mid, statuses in peer.results.items():
                assert len(statuses) == 1, (mid, statuses)

    # And in the end

    def teardown(self) -> None:
        office = self.office
        office.disk.unwritable = office.disk.unreadable = office.disk_waits = False
        office.rejected.clear()
        office.work()
        office.pass_time(1)
        for user in SENDERS:
            if not any(one.connection.mode is Mode.FULL for one in self.peers(user)):
                office.join(user)
        for _ in range(20):
            for peer in list(office.peers):
                self.opened.update(one.mid for one in peer.unacked.values())
                office.ack(peer)
            office.pass_time(1)
        for peer in office.peers:
            self.gather(peer)
        for mid, statuses in self.results.items():
            if Status.STORED in statuses:
                assert mid in self.opened | self.refused, f"{mid.hex()} is lost"
                if self.sender[mid] in OWNERS:
                    assert set(self.told[mid]) <= FINAL, f"nobody was told of {mid.hex()}"
            assert not (NEVER_KEPT & set(statuses) and mid in self.told)
        assert office.disk.mail == {}
        mailbox = office.router.post.mailbox
        assert (mailbox.count, mailbox.bytes, mailbox.unwritten) == (0, 0, {})
        for peer in office.peers:
            catch_up = peer.connection.catch_up
            assert not any((catch_up.held, catch_up.plan, catch_up.loading, peer.connection.copies))
            assert peer.caught_up == (1 if peer.user in OWNERS and peer.connection.mode is Mode.FULL else 0)


class OneAtATime(Histories):
    several = False


def _run(machine: type[Histories]) -> None:
    run_state_machine_as_test(machine, settings=settings(max_examples=150, stateful_step_count=40, deadline=None))


def test_any_history() -> None:
    _run(Histories)


def test_any_history_with_one_connection_a_user() -> None:
    _run(OneAtATime)
