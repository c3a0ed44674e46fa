"""The prompt of ``chat``: what is typed goes to ``Talk``, what happens is shown above it.

One event loop draws everything, so that no line is lost between two prompts. Events come from a thread that waits until one
is shown before it asks for the next: what was not shown does not count as seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.shortcuts import CompleteStyle

from clients.chronicle import ConnectionState
from clients.cli_settings import DEFAULT_TIMEOUT
from clients.exits import INTERRUPTED, NETWORK, OK, TERMINATED, exit_code_of
from clients.talk import COMMANDS, Talk
from clients.telling import under
from clients.terminal import Terminal, faint, strong
from clients.ticks import Ticks
from clients.timeline import Line, LineKind, Timeline
from clients.view import clean, moment, tick
from core import errors
from core.events import Event, MessageSent, Outcome, Receipt

if TYPE_CHECKING:
    from clients.chat import ChatClient
    from clients.profiles import OpenProfile

CURSOR: Final = "chat"
_EARLIER: Final = 8  # lines shown of what was said before
_ENTRIES: Final = 500  # of the history that these are looked for in


@dataclass(frozen=True, slots=True)
class Before:
    """What was said before, and what became of it by then."""

    lines: Sequence[Line] = ()
    ticks: Ticks = field(default_factory=Ticks)


def before_chat(profile: OpenProfile, conversation: str) -> Before:
    """The last lines of a conversation up to where this profile's last ``chat`` stopped."""
    history = profile.store.history
    shown = history.cursor(CURSOR)
    timeline, ticks = Timeline(profile.user), Ticks()
    for entry in history.before((history.last if shown is None else shown) + 1, _ENTRIES):
        timeline.apply(entry.event, entry.at / 1000)
        match entry.event:
            case MessageSent() as sent:
                ticks.sent(sent)
            case Receipt() as receipt:
                ticks.receipt(receipt)
            case _:
                pass
    ticks.forget_settled()
    return Before(timeline.lines(conversation)[-_EARLIER:], ticks)


def run(client: ChatClient, terminal: Terminal, to: str, before: Before) -> int:
    """Talk until one is tired of it; returns the exit code."""
    prompt = _Prompt(client, terminal, to, before.ticks)
    for line in before.lines:
        terminal.data(prompt.earlier(line), {})
    return asyncio.run(prompt.run())


class _Prompt:
    def __init__(self, client: ChatClient, terminal: Terminal, to: str, ticks: Ticks) -> None:
        self._client = client
        self._terminal = terminal
        self._talk = Talk(client, terminal, to, ticks, self._above, self._changed)
        self._session: PromptSession[str] = PromptSession(
            lambda: terminal.shown(self._talk.prompt()),
            history=InMemoryHistory(),
            completer=_Names(self._talk),
            complete_style=CompleteStyle.READLINE_LIKE,
            bottom_toolbar=lambda: terminal.shown(f" {self._talk.state()}"),
            key_bindings=_keys(),
            enable_suspend=True,
            erase_when_done=True,  # the line comes back as a message, once it is one
        )

    def earlier(self, line: Line) -> str:
        """A line from before."""
        if line.kind is not LineKind.MESSAGE:
            return faint(f"{moment(line.when)} {line.text}")
        became = f" {faint(f'[{tick(line.outcomes)}]')}" if line.mine else ""
        return under(self._terminal, f"{faint(moment(line.when))} {strong(line.sender)}{became}", clean(line.text))

    def _changed(self) -> None:
        self._session.app.invalidate()

    def _above(self, show: Callable[[], None]) -> None:
        """Run what prints, above the line that is being typed.

        The terminal stays in raw mode: between two modes it would take some keys for itself, and Ctrl-D would be lost.
        """
        app = self._session.app
        if not app.is_running:
            show()
            return
        app.renderer.erase()
        try:
            show()
        finally:
            app.renderer.request_absolute_cursor_position()
            app.invalidate()

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        gone: asyncio.Future[None] = loop.create_future()
        terminated = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, terminated.set)
        follower = threading.Thread(target=self._follow, args=(loop, gone), name="securechat-chat", daemon=True)
        follower.start()
        typing, waiting = asyncio.create_task(self._type()), asyncio.create_task(terminated.wait())
        either: list[asyncio.Future[Any]] = [typing, waiting, gone]
        try:
            interrupted = False
            try:
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:  # Ctrl-C after the last line was typed
                interrupted = True
            if typing.done():
                return typing.result()
            typing.cancel()  # it gives the terminal back first
            await asyncio.wait([typing])
            self._account()
            if interrupted or waiting.done():
                return INTERRUPTED if interrupted else TERMINATED
            gone.result()
            raise self._client.status.error or errors.LocalProtocolError(what="chatting with a client that is closed")
        finally:
            for one in either:
                one.cancel()
            await asyncio.wait(either)
            await asyncio.to_thread(self._client.close)
            await asyncio.to_thread(follower.join)

    def _follow(self, loop: asyncio.AbstractEventLoop, gone: asyncio.Future[None]) -> None:
        """Have each event shown; when there will be no more, or it fails, let ``gone`` say so."""
        failure: Exception | None = None
        try:
            for event in self._client.events(cursor=CURSOR):
                asyncio.run_coroutine_threadsafe(self._show(event), loop).result()
        except Exception as error:  # noqa: BLE001 - goes on in the other thread
            failure = error

        def tell() -> None:
            if gone.done():
                return
            if failure is None:
                gone.set_result(None)
            else:
                gone.set_exception(failure)

        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            loop.call_soon_threadsafe(tell)

    async def _show(self, event: Event) -> None:
        if self._talk.is_worth_a_line(event):
            self._above(lambda: self._talk.show(event))
        else:
            self._talk.show(event)
            self._changed()

    async def _type(self) -> int:
        """Take lines until the end; returns the exit code."""
        self._talk.welcome()
        draft = ""
        with self._session.app.input.raw_mode():  # between two lines, too: see ``_above``
            while not self._talk.over:
                try:
                    typed = await self._session.prompt_async(default=draft)
                except KeyboardInterrupt:
                    self._account()
                    return INTERRUPTED
                except EOFError:
                    break
                draft = self._talk.take(typed)
        return await self._finish()

    async def _finish(self) -> int:
        """What was typed last may still be on its way: wait for it, while there is a broker that may answer."""
        told = False
        for id_ in self._talk.sent:
            if _settled(self._client.wait_sent(id_, 0)):
                continue
            if self._client.status.state is not ConnectionState.ONLINE:
                break
            if not told:
                self._terminal.say(faint("waiting for the broker to take what you sent; Ctrl-C ends it"))
                told = True
            if not _settled(await asyncio.to_thread(self._client.wait_sent, id_, DEFAULT_TIMEOUT)):
                break
        return self._account()

    def _account(self) -> int:
        """Say what was not sent: nobody is to leave believing that it was. Returns the exit code of all that was typed."""
        each = {id_: self._client.wait_sent(id_, 0) for id_ in self._talk.sent}
        left = [id_ for id_, outcomes in each.items() if not _settled(outcomes)]
        codes = {exit_code_of(each[id_].values()) for id_ in each if id_ not in left} | self._talk.failures
        if self._talk.transfers:
            self._terminal.warn(f"broken off: {self._talk.transfers}")
            codes.add(NETWORK)
        if left:
            what, they = ("1 message was", "it") if len(left) == 1 else (f"{len(left)} messages were", "them")
            kept = f"the outbox keeps {they}" if self._client.profile else "nothing was kept"
            self._terminal.warn("\n  ".join([f"{what} not sent; {kept}:", *self._talk.open(left)]))
            codes.add(NETWORK)
        return min(codes - {OK}, default=OK)  # as among the copies of one message


def _settled(outcomes: Mapping[str, Outcome]) -> bool:
    """Whether nobody need wait any longer to know what became of a message."""
    return all(one.final or one.safe for one in outcomes.values())


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("escape", "enter")
    def _new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys


class _Names(Completer):
    """Completes commands at the beginning, paths behind ``/file``, and names everywhere else."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._paths = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """See ``Completer``."""
        text = document.text_before_cursor
        for command in ("/file ", "/save "):
            if text.startswith(command):
                rest = text.removeprefix(command)
                yield from self._paths.get_completions(Document(rest, len(rest)), complete_event)
                return
        word = document.get_word_before_cursor(WORD=True)
        words = [f"/{name}" for name in COMMANDS] if text == word and word.startswith("/") else self._talk.names()
        yield from (Completion(one, -len(word)) for one in words if one.startswith(word))
