"""Mail for users who are away, on real sockets and a real disk."""

from __future__ import annotations

from core.messages import CaughtUp, Kept, Result, Status, Told, Welcome
from tests.net import PROOF, LocalBroker, Wire, profile, until


def waiting(broker: LocalBroker) -> int:
    return broker.router.post.mailbox.count


def test_what_is_sent_to_an_absent_owner_waits_and_its_sender_hears_of_it(broker: LocalBroker) -> None:
    alice, bob = profile("alice"), profile("bob")
    with Wire(broker.address).log_in(bob):
        pass
    until(lambda: not broker.present)
    with Wire(broker.address).log_in(alice) as sender:
        mid = sender.mail("bob", b"for later")
        assert sender.results(1) == [Result(mid, 0, Status.STORED)]
        with Wire(broker.address) as reader:
            reader.say(reader.prove_up(bob))
            assert reader.expect(Welcome).waiting == 1
            copy = reader.delivery()
            assert (copy.mid, copy.sender, copy.common, copy.wrap) == (mid, "alice", b"for later", None)
            assert isinstance(reader.read(), CaughtUp)
            reader.ack([copy])
            told = sender.expect(Kept)
            assert told.told == (Told(mid, "bob", Status.DELIVERED, PROOF),)
    assert waiting(broker) == 0
