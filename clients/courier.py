"""A connection of its own for files, so that chat is not kept waiting behind them."""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Final

from clients.transport import Transport, instant
from core.address import BrokerAddress
from core.clock import Instant
from core.errors import BrokerUnreachable, LoginRefused, SecureChatError
from core.events import Disconnected, Event, Refused
from core.frames import Frames
from core.identity import Identity
from core.messages import Mode
from core.session import Session

PATIENCE: Final = 60.0  # seconds without a word about the file, reconnecting included


class Courier:
    """Carries one file at a time. ``before_connecting`` gives the CURVE secret key (32 bytes), or None for a fresh one.

    Use it as a context; all methods are for the thread that does. Sessions log in as ``identity``, unseen.
    """

    def __init__(
        self,
        identity: Identity,
        broker: BrokerAddress,
        before_connecting: Callable[[], bytes | None],
        patience: float = PATIENCE,
    ) -> None:
        self._broker = broker
        self._patience = patience
        self._happened: queue.SimpleQueue[tuple[list[Event], SecureChatError | None]] = queue.SimpleQueue()
        self._transport = Transport(
            broker,
            lambda: Session(identity, Mode.SEND, broker.key, random=os.urandom),
            self._note,
            before_connecting,
        )

    def __enter__(self) -> Courier:
        """Connect, in the background."""
        self._transport.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Say goodbye."""
        self._transport.stop()

    def _note(self, events: list[Event], error: SecureChatError | None) -> None:
        if events or error:
            self._happened.put((events, error))

    def put(self, out: Iterable[Frames]) -> None:
        """Say this to the broker; it is lost while there is no connection."""
        said = list(out)

        def say(session: Session, _: Instant) -> list[Event]:
            session.put(said)
            return []

        self._transport.call(say)

    def events(self) -> Iterator[Event]:
        """What happens. Raises BrokerUnreachable once nothing was heard of for too long, and LoginRefused."""
        since = instant().mono
        why: SecureChatError | None = None
        while True:
            try:
                events, error = self._happened.get(timeout=max(0.0, since + self._patience - instant().mono))
            except queue.Empty:
                silent = BrokerUnreachable(
                    where=self._broker.where, why=f"it said nothing of the file for {self._patience:g} s"
                )
                raise why or silent from None
            why = error or why
            for event in events:
                if isinstance(event, Refused):
                    raise event.error
                if not isinstance(event, Disconnected):
                    since = instant().mono
                    why = None
                yield event
            if isinstance(error, LoginRefused):
                raise error
