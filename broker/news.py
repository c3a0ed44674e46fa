"""News for senders: what became of copies after they were stored. For profiles it is kept until they have it safe."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from broker.catchup import Hearing
from broker.directory import Connection, Directory
from broker.mail_values import LoadReceipts, Operation, Receipt
from broker.mailbox import Mailbox
from broker.outbox import Outbox
from core.limits import KEPT_MAX
from core.messages import Kept, Told


class News:
    """Tells every connection of a sender. What is to be read is appended to ``to_disk``."""

    def __init__(self, directory: Directory, mailbox: Mailbox, to_disk: list[Operation], outbox: Outbox) -> None:
        self._directory: Final = directory
        self._mailbox: Final = mailbox
        self._to_disk: Final = to_disk
        self._outbox: Final = outbox

    def tell(self, receipts: Sequence[Receipt]) -> None:
        """These are safe on disk, or nobody's who will come back: tell those who are here."""
        by_sender: defaultdict[tuple[str, str], list[Receipt]] = defaultdict(list)
        for one in receipts:
            by_sender[one.user, one.kid].append(one)
        for (user, kid), theirs in by_sender.items():
            kept = [one for one in theirs if one.id and self._mailbox.keep(one)]
            passing = [one for one in theirs if not one.id]
            for connection in self._directory.connections_of(user):
                if connection.kid != kid:
                    continue
                if connection.catch_up.news is Hearing.ALL:
                    self._say(connection, kept)
                self._say(connection, passing)

    def load(self, connection: Connection) -> None:
        """Have the next portion read for a connection that has noted what it was sent."""
        catch_up = connection.catch_up
        ids = self._mailbox.receipts_after(connection.user, catch_up.news_to)
        catch_up.news = Hearing.LOADING if ids else Hearing.ALL
        if ids:
            self._to_disk.append(LoadReceipts(connection.rid, ids))

    def give(self, connection: Connection, asked: LoadReceipts, receipts: Sequence[Receipt]) -> None:
        """Pass a portion on."""
        catch_up = connection.catch_up
        theirs = [one for one in receipts if one.kid == connection.kid]
        self._say(connection, theirs)
        catch_up.news_to = max(asked.ids[-1], catch_up.news_to)
        if theirs and self._mailbox.receipts_after(connection.user, catch_up.news_to):
            catch_up.news = Hearing.SENT
        else:
            self.load(connection)

    def noted(self, connection: Connection, upto: int) -> None:
        """A sender has the news up to this number safe."""
        box = self._mailbox.of(connection.user)
        if box is None or box.kid != connection.kid:
            return
        self._mailbox.noted(connection.user, upto)
        if connection.catch_up.news is Hearing.SENT and upto >= connection.catch_up.news_to:
            self.load(connection)

    def _say(self, connection: Connection, receipts: Sequence[Receipt]) -> None:
        for at in range(0, len(receipts), KEPT_MAX):
            part = receipts[at : at + KEPT_MAX]
            upto = part[-1].id
            told = tuple(Told(one.mid, one.to, one.status, one.proof) for one in part)
            connection.catch_up.news_to = max(upto, connection.catch_up.news_to)
            self._outbox.say(connection, Kept(upto, told))
