"""A mail storage in memory, for routers without sockets. It works only when told, fails when told, and survives a crash."""

from __future__ import annotations

from collections.abc import Sequence

from broker.mail_values import (
    Answer,
    Committed,
    Contents,
    Drop,
    FindOld,
    FoundOld,
    Load,
    Loaded,
    LoadedReceipts,
    LoadReceipts,
    NotLoaded,
    OldCopy,
    Operation,
    Purge,
    Put,
    Receipt,
    StoredCopy,
    StoredReceipt,
    Unstored,
)

_AT_ONCE = 3  # how many old ones are found at once: few, so that there are several portions


class MemoryMailStorage:
    """``MailStorage``: what was submitted waits for ``work``."""

    def __init__(self) -> None:
        self.mail: dict[int, Put] = {}
        self.receipts: dict[int, Receipt] = {}
        self.last_receipt = 0
        self.failure: str | None = None
        self.unwritable = False
        self.unreadable = False
        self._todo: list[Operation] = []
        self._owed: list[Drop | Purge] = []
        self._done: list[Answer] = []

    def contents(self) -> Contents:
        return Contents(
            [StoredCopy(one.id, one.user, one.kid, one.size) for _, one in sorted(self.mail.items())],
            [StoredReceipt(one.id, one.user, one.kid) for _, one in sorted(self.receipts.items())],
            max(self.mail, default=0),
            self.last_receipt,
        )

    def crash(self) -> MemoryMailStorage:
        """The storage that is found afterwards: what was committed, and nothing else."""
        after = MemoryMailStorage()
        after.mail, after.receipts, after.last_receipt = dict(self.mail), dict(self.receipts), self.last_receipt
        return after

    def submit(self, batch: Sequence[Operation]) -> None:
        self._todo += batch

    def completed(self) -> list[Answer]:
        done, self._done = self._done, []
        return done

    def flush(self, seconds: float) -> None:  # noqa: ARG002 - the interface's
        self.work()

    def work(self) -> None:
        """Carry out what waits: reads first, then all changes as one transaction."""
        todo, self._todo = self._todo, []
        changes: list[Put | Drop | Purge] = [*self._owed]
        for one in todo:
            if isinstance(one, Put | Drop | Purge):
                changes.append(one)
            else:
                self._read(one)
        if self.unwritable:
            self._owed = [one for one in changes if not isinstance(one, Put)]
            if puts := tuple(one.id for one in changes if isinstance(one, Put)):
                self._done.append(Unstored(puts))
            return
        self._owed = []
        for change in changes:
            self._change(change)
        if changes:
            self._done.append(Committed(tuple(changes)))

    def _read(self, one: Load | LoadReceipts | FindOld) -> None:
        match one:
            case Load(_, ids):
                found = tuple(self.mail[number] for number in ids if number in self.mail)
                self._done.append(NotLoaded(one) if self.unreadable else Loaded(one, found))
            case LoadReceipts(_, ids):
                kept = tuple(self.receipts[number] for number in ids if number in self.receipts)
                self._done.append(LoadedReceipts(one, kept))
            case FindOld(before, copy, receipt):
                copies = [put for number, put in sorted(self.mail.items()) if number > copy][:_AT_ONCE]
                receipts = [kept for number, kept in sorted(self.receipts.items()) if number > receipt][:_AT_ONCE]
                old = tuple(OldCopy(put.id, put.user, put.sender, put.sender_kid, put.mid) for put in copies if put.at < before)
                stale = tuple((kept.id, kept.user) for kept in receipts if kept.at < before)
                if old or stale:
                    after = FindOld(before, copies[-1].id if copies else copy, receipts[-1].id if receipts else receipt)
                    self._done.append(FoundOld(old, stale, after))

    def _change(self, one: Put | Drop | Purge) -> None:
        match one:
            case Put():
                self.mail[one.id] = one
            case Drop(number, receipt):
                self.mail.pop(number, None)
                if receipt and receipt.id:
                    self.receipts[receipt.id] = receipt
                    self.last_receipt = max(self.last_receipt, receipt.id)
            case Purge(copies, receipts):
                for number in copies:
                    self.mail.pop(number, None)
                for number in receipts:
                    self.receipts.pop(number, None)
