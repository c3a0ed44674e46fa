"""What is to be sent: answers, results, and last words."""

from __future__ import annotations

from typing import Final

from broker.directory import Connection
from core import frames
from core.frames import Frames, result_item
from core.limits import RESULTS_MAX
from core.messages import Control, Roster, Status

# A client that does not read its results is not worth keeping: this many entries are about 1.6 MB.
_RESULTS_HELD_MAX: Final = 32 * RESULTS_MAX


class Outbox:
    """Whoever has the sockets sends what gathers here.

    ``outgoing``: connection, frames, and whether it is a roster change, which may be made up for later. ``doomed``: routing id
    and last words, then the connection is to be cut. ``with_results``: the connections for which there are results.
    ``counts``: how often each status was what became of a copy, since the start; what was stored counts again when that ends.
    Other threads may read it.
    """

    def __init__(self) -> None:
        self.with_results: Final[set[Connection]] = set()
        self.outgoing: list[tuple[Connection, Frames, bool]] = []
        self.doomed: list[tuple[bytes, bytes]] = []
        self.counts: Final[dict[Status, int]] = dict.fromkeys(Status, 0)

    def result(self, sender: Connection, mid: bytes, place: int, status: Status, proof: bytes | None = None) -> None:
        """Note what became of a copy, for its sender if that is still here."""
        self.counts[status] += 1
        if sender.ready:
            sender.results.append(result_item(mid, place, status, proof))
            self.with_results.add(sender)

    def take_results(self, connection: Connection) -> bytes:
        """The next RESULT for this connection, at most 1,024 entries; the rest stays noted."""
        batch = connection.results[:RESULTS_MAX]
        del connection.results[:RESULTS_MAX]
        if not connection.results:
            self.with_results.discard(connection)
        return b"R" + b"".join(batch)

    def results_stuck(self, connection: Connection) -> bool:
        """Whether this client has left too many results unread to be kept."""
        return len(connection.results) > _RESULTS_HELD_MAX

    def say(self, connection: Connection, message: Control) -> None:
        """Have a control message sent."""
        self.outgoing.append((connection, frames.control(message), isinstance(message, Roster)))

    def give(self, connection: Connection, raw: Frames) -> None:
        """Have a copy sent, after what was said before."""
        self.outgoing.append((connection, raw, False))
