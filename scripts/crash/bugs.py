"""Bugs to plant, so that the checker can show that it finds them. They exist only in processes that the crash test starts.

``python -m scripts.crash.bugs BUG MODULE ...`` runs a module with the bug in it. Where a bug opens a window for a kill, the
process is made slow there: the window is as wide as it would be on a busy machine.
"""

from __future__ import annotations

import runpy
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from scripts.crash.checker import Kind

if TYPE_CHECKING:
    from clients.chronicle import Chronicle
    from clients.outbox import StoredOutbox
    from clients.store import Store
    from clients.transport import Transport
    from core.session import Session

_SLOW: Final = 0.1  # seconds


@dataclass(frozen=True, slots=True)
class Bug:
    """``plant`` puts it into this process, if it belongs to one of the ``roles``; it shows as one of the ``kinds``."""

    about: str
    roles: tuple[str, ...]
    kinds: tuple[Kind, ...]
    plant: Callable[[], None]


def _replace(owner: object, name: str, make: Callable[[Any], object]) -> None:
    """Put what ``make`` makes of a function in its place."""
    setattr(owner, name, make(getattr(owner, name)))


def _acknowledge_early() -> None:
    from clients.transport import Transport

    def make(receive: Callable[[Transport, Any, Session], None]) -> object:
        def receiving(self: Any, sock: Any, session: Session) -> None:
            keep = self._keep

            def keep_late(events: list[Any]) -> None:
                keep(events)
                self._flush(sock, session)
                time.sleep(_SLOW)

            self._keep = keep_late
            try:
                receive(self, sock, session)
            finally:
                self._keep = keep

        return receiving

    _replace(Transport, "_receive", make)


def _forget_what_came() -> None:
    from clients.store import Store
    from clients.transport import Transport

    def make_taken(_: Callable[[Store, bytes, bytes], bytes | None]) -> object:
        return lambda *_: None

    def make_receive(receive: Callable[[Transport, Any, Session], None]) -> object:
        def receiving(self: Transport, sock: Any, session: Session) -> None:
            receive(self, sock, session)
            time.sleep(_SLOW)

        return receiving

    _replace(Store, "taken", make_taken)
    _replace(Transport, "_receive", make_receive)


def _forget_what_is_sent() -> None:
    from clients.outbox import StoredOutbox
    from clients.transport import Transport

    def make_claim(claim: Callable[[StoredOutbox, int, int], list[Any]]) -> object:
        def claiming(self: Any, most: int, now_ms: int) -> list[Any]:
            with self._database.together():
                claimed = claim(self, most, now_ms)
                self._database.each("DELETE FROM outbox WHERE mid = ?", [(one.mid,) for one in claimed])
                return claimed

        return claiming

    def make_flush(flush: Callable[[Transport, Any, Session], None]) -> object:
        def flushing(self: Transport, sock: Any, session: Any) -> None:
            if session._out:  # noqa: SLF001
                time.sleep(_SLOW)
            flush(self, sock, session)

        return flushing

    _replace(StoredOutbox, "claim", make_claim)
    _replace(Transport, "_flush", make_flush)


def _mark_before_printing() -> None:
    from clients.chronicle import Chronicle

    def make(events: Callable[..., Iterator[Any]]) -> object:
        def marking(self: Chronicle, timeout: float | None, cursor: str | None, since: int | None) -> Iterator[Any]:
            for event in events(self, timeout, cursor, since):
                if cursor:
                    self.mark_shown(cursor)
                    time.sleep(_SLOW)
                yield event

        return marking

    _replace(Chronicle, "events", make)


def _answer_before_the_disk() -> None:
    from broker.mail_storage import SqliteMailStorage
    from broker.post import Post
    from core.messages import Status

    def make_put(put: Callable[..., None]) -> object:
        def putting(self: Any, number: int, box: Any, sender: Any, mid: bytes, place: int, *rest: Any) -> None:
            put(self, number, box, sender, mid, place, *rest)
            self.mailbox.unwritten[number].answered = True
            self._outbox.result(sender, mid, place, Status.STORED)

        return putting

    def make_commit(commit: Callable[..., bool]) -> object:
        def committing(self: Any, changes: Any) -> bool:
            time.sleep(3 * _SLOW)
            return commit(self, changes)

        return committing

    _replace(Post, "_put", make_put)
    _replace(SqliteMailStorage, "_commit", make_commit)


BUGS: Final = {
    "ack-first": Bug(
        "a client acknowledges a message before it has committed it",
        ("listen",), (Kind.LOST,), _acknowledge_early,
    ),
    "stored-first": Bug(
        "the broker says 'stored' before it has committed the copy",
        ("broker",), (Kind.LOST,), _answer_before_the_disk,
    ),
    "no-replay-check": Bug(
        "a client does not look whether it has a message already",
        ("listen",), (Kind.TWICE,), _forget_what_came,
    ),
    "outbox-forgets": Bug(
        "a message leaves the outbox when it is sent, not when it is answered",
        ("sender", "script"), (Kind.UNSENT, Kind.UNTOLD), _forget_what_is_sent,
    ),
    "marked-first": Bug(
        "'listen' notes that it has printed a line before it prints it",
        ("listen",), (Kind.UNSHOWN,), _mark_before_printing,
    ),
}  # fmt: skip


def main() -> None:
    """Plant a bug, and run a module."""
    bug, module = sys.argv[1:3]
    BUGS[bug].plant()
    del sys.argv[1:3]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
