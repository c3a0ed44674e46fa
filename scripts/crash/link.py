"""The way between clients and a broker, which can be cut and stalled."""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
from typing import Final

from scripts.processes import LOCAL

_LIMIT: Final = 10.0  # seconds
_PIECE: Final = 65_536


class Flow:
    """What goes one way: ``carried`` bytes so far, held once they reach ``most``; then ``reached`` is set."""

    def __init__(self) -> None:
        self.carried = 0
        self.most = math.inf
        self.reached = threading.Event()


class Link:
    """Forwards the connections made to its ``port`` of this machine to another one. It has a thread of its own."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._ways: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.up = Flow()
        self.down = Flow()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, LOCAL, 0))
        self.port: Final = int(self._server.sockets[0].getsockname()[1])
        self._thread = threading.Thread(target=self._loop.run_forever, name="link")
        self._thread.start()

    def cut(self) -> None:
        """End all connections that there are, in the middle of whatever they carry."""
        self._loop.call_soon_threadsafe(self._cut)

    def stall(self, seconds: float) -> None:
        """Carry nothing for so long, and then all that has gathered."""

        def begin() -> None:
            self._flowing.clear()
            self._loop.call_later(seconds, self._flowing.set)

        self._loop.call_soon_threadsafe(begin)

    def hold(self, flow: Flow, more: int) -> threading.Event:
        """Carry so many bytes more this way, and then nothing any way until ``release``; returns what tells when."""
        reached = threading.Event()

        def begin() -> None:
            flow.reached = reached
            flow.most = flow.carried + more

        self._loop.call_soon_threadsafe(begin)
        return reached

    def release(self) -> None:
        """Cut, and carry everything of the connections that follow."""

        def again() -> None:
            self._cut()
            self.up.most = self.down.most = math.inf
            self._flowing.set()

        self._loop.call_soon_threadsafe(again)

    def close(self) -> None:
        """End the connections, and the thread."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(_LIMIT)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_LIMIT)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _cut(self) -> None:
        for way in self._ways:
            way.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        ways = [writer]
        try:
            with contextlib.suppress(OSError):
                far_reader, far_writer = await asyncio.open_connection(LOCAL, self._target)
                ways.append(far_writer)
                self._ways.update(ways)
                pumps = [
                    asyncio.ensure_future(self._pump(reader, far_writer, self.up)),
                    asyncio.ensure_future(self._pump(far_reader, writer, self.down)),
                ]
                try:
                    await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for pump in pumps:
                        pump.cancel()
                    await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            self._ways.difference_update(ways)
            for way in ways:
                way.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flow: Flow) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(_PIECE):
                await self._flowing.wait()
                flow.carried += len(piece)
                if flow.carried >= flow.most:
                    self._flowing.clear()
                    flow.reached.set()
                    await self._flowing.wait()
                writer.write(piece)
                await writer.drain()
