"""Files in ``chat``: sent and fetched in the background, while the conversation goes on."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

from clients.exits import exit_code
from clients.files import Files, Progress
from clients.terminal import Terminal
from clients.view import clean
from core.content import File
from core.errors import SecureChatError

Above = Callable[[Callable[[], None]], None]
"""Runs what prints, above the line that is being typed."""

_T = TypeVar("_T")


class Transfers:
    """What is on its way. For the thread of the event loop only; ``changed`` is called from others too."""

    def __init__(self, files: Files, terminal: Terminal, above: Above, changed: Callable[[], None]) -> None:
        self._files = files
        self._terminal = terminal
        self._above = above
        self._changed = changed
        self._shares: dict[str, int] = {}
        self.failures: Final[set[int]] = set()  # the exit codes of what could not be uploaded and sent
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def state(self) -> str:
        """How far they are: ``report.pdf 42 %``."""
        return " · ".join(f"{name} {share} %" for name, share in list(self._shares.items()))

    def upload(self, path: Path, then: Callable[[File], None]) -> None:
        """Upload a file, and do ``then`` with it."""

        async def work(progress: Progress) -> None:
            try:
                then(await _in_background(lambda: self._files.upload(path, progress)))
            except SecureChatError as error:
                self.failures.add(exit_code(error))
                raise

        self._begin(path.name, work)

    def download(self, file: File, folder: Path) -> None:
        """Fetch a file, and say where it is."""

        async def work(progress: Progress) -> None:
            saved = await _in_background(lambda: self._files.download(file, folder, progress))
            self._above(lambda: self._terminal.say(f"saved as {clean(str(saved))}"))

        self._begin(file.name, work)

    def _begin(self, name: str, work: Callable[[Progress], Coroutine[Any, Any, None]]) -> None:
        shown = clean(name)

        def progress(done: int, size: int) -> None:
            self._shares[shown] = 100 * done // size if size else 100
            self._changed()

        async def run() -> None:
            try:
                progress(0, 1)
                await work(progress)
            except SecureChatError as error:
                failure = error
                self._above(lambda: self._terminal.complain(failure))
            finally:
                self._shares.pop(shown, None)
                self._changed()

        task = asyncio.get_running_loop().create_task(run())
        self._tasks.add(task)  # the loop alone would let it be collected
        task.add_done_callback(self._tasks.discard)


async def _in_background(function: Callable[[], _T]) -> _T:
    """What ``function`` returns, in a thread that nobody waits for at the end: a link may keep it for long."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[_T] = loop.create_future()

    def settle(value: _T | None, error: Exception | None) -> None:
        if result.done():  # given up
            return
        if error is not None:
            result.set_exception(error)
        else:
            result.set_result(value)  # type: ignore[arg-type]  # without an error there is a value

    def run() -> None:
        value, failure = None, None
        try:
            value = function()
        except Exception as error:  # noqa: BLE001 - goes on in the other thread
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, value, failure)

    threading.Thread(target=run, name="securechat-file", daemon=True).start()
    return await result
