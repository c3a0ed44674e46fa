"""A broker, links to it, and people who write to each other, each a process; and how all that is shaken."""

from __future__ import annotations

import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from core.address import BrokerAddress
from core.encoding import from_b64url
from core.events import Outcome
from core.limits import MID_BYTES
from scripts.crash.actors import Actor, wait_for_broker
from scripts.crash.bugs import BUGS
from scripts.crash.checker import Evidence
from scripts.crash.journal import Journal, Told, Tried, whole_lines
from scripts.crash.link import Link
from scripts.crash.people import end_leases, introduce, make_profile, opened, read_shown, take_down, unsettled, unshown
from scripts.crash.sender import unique_texts
from scripts.processes import LOCAL, port_is_free
from tests.broker_process import environment
from tests.keys import NAMES

_SHOW_MAX: Final = 30.0  # seconds in which `listen` must have got on with what is in the history
_STEP: Final = 0.01
# Alice and mallory are away until the end; bob reads and writes, in two processes of one profile.
SENDERS: Final = ("alice", "bob")
READERS: Final = ("bob", "carol", "dave")
SCRIPT: Final = "mallory"
_SCRIPT_FINE: Final = (0, 3, 7, 8)  # sent, no broker, only some copies, not in time


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is done: ``kills`` in all, about ``interval`` seconds apart; ``pace`` messages a second from each sender.

    A link may be stalled for ``stall`` seconds at most. ``patience`` is for how many seconds nothing may arrive, in the end,
    until no more is expected. ``bug`` is planted.
    """

    kills: int
    seed: int
    interval: float = 1.3
    pace: float = 8.0
    stall: float = 18.0
    patience: float = 20.0
    bug: str | None = None


class World:
    """Everything that runs, in a folder of its own. Its end ends all processes that it started, and no other."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self._plan = plan
        self._rng = random.Random(plan.seed)
        self._folder = folder
        self._home = folder / "home"
        self._files = folder / "files"
        self._files.mkdir()
        self._env = environment(folder)
        self._stack = contextlib.ExitStack()
        self.counts: Counter[str] = Counter()
        self._port = _free_port(self._rng)
        self._broker = self._actor("broker", "broker", self._broker_command, module="broker")
        self._actors = [self._broker]
        self._listeners: dict[str, Actor] = {}
        self._due: dict[Actor, float] = {}
        self._script_texts = unique_texts(SCRIPT)

    # Making it

    def __enter__(self) -> Self:
        """Make the profiles, start everything, and wait until everybody is known to the broker."""
        try:
            for number, name in enumerate(NAMES):
                make_profile(self._home, name, number)
            self._broker.start()
            self._address = wait_for_broker(self._broker, self._folder / "broker")
            self._links = [Link(self._port) for _ in range(2)]
            for link in self._links:
                self._stack.callback(link.close)
            for name in NAMES:
                introduce(self._home, name, self._address)
            if self._plan.bug:  # from here on
                self._broker.stop()
            self._script_journal = self._stack.enter_context(contextlib.closing(Journal(self._journal(SCRIPT))))
            ways = [self._links[0].port, self._links[1].port, self._port]
            for at, name in enumerate(READERS):
                self._listeners[name] = self._listener(name, ways[at % 3])
            senders = [self._sender(name, ways[(at + 1) % 3]) for at, name in enumerate(SENDERS)]
            self._script = self._actor("script", "script", self._script_command, fine=_SCRIPT_FINE)
            self._actors += [*self._listeners.values(), *senders, self._script]
            self._due = dict.fromkeys(self._actors, 0.0)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End everything."""
        for actor in (*self._actors, *self._listeners.values()):
            actor.kill()
        self._stack.close()

    def _actor(
        self,
        role: str,
        name: str,
        command: Callable[[], Sequence[str]],
        *,
        module: str = "clients",
        fine: Sequence[int] = (),
    ) -> Actor:
        bug = BUGS[self._plan.bug] if self._plan.bug else None

        def whole() -> list[str]:
            planted = bug is not None and role in bug.roles and self._due
            return ["-m", *(("scripts.crash.bugs", str(self._plan.bug)) if planted else ()), module, *command()]

        return Actor(role, name, whole, self._files, self._env, fine)

    def _broker_command(self) -> Sequence[str]:
        return ["--host", LOCAL, "--port", str(self._port), "--data", str(self._folder / "broker")]

    def _listener(self, name: str, port: int) -> Actor:
        command = [*self._cli(name, port), "listen", "--json"]
        return self._actor("listen", f"listen-{name}", lambda: command, fine=(3,))

    def _sender(self, name: str, port: int) -> Actor:
        def command() -> list[str]:
            seed = f"{self._plan.seed} {name} {self._rng.random()}"
            where = ["--home", str(self._home), "--profile", name, "--broker", self._url(port)]
            told = ["--journal", str(self._journal(name)), "--pace", str(self._plan.pace), "--seed", seed]
            return [*where, *told, *(other for other in NAMES if other != name)]

        return self._actor("sender", f"sender-{name}", command, module="scripts.crash.sender")

    def _script_command(self) -> Sequence[str]:
        text = next(self._script_texts)
        to = self._rng.sample([*READERS, "alice"], self._rng.choice((1, 1, 3)))
        self._script_journal.say(Tried(text))
        return [*self._cli(SCRIPT, self._links[0].port), "send", *to, text, "--json", "--timeout", "5s"]

    def _cli(self, name: str, port: int) -> list[str]:
        return ["--profile", name, "--home", str(self._home), "--broker", self._url(port)]

    def _url(self, port: int) -> str:
        return BrokerAddress((LOCAL,), port, self._address.key).url

    def _journal(self, name: str) -> Path:
        return self._folder / f"{name}.journal"

    # Shaking it

    def shake(self, until: float) -> None:
        """Kill and start again, cut and stall, until there were as many kills as planned, or (monotonic) ``until``."""
        rng, plan = self._rng, self._plan
        while time.monotonic() < until and not all(
            one.runs and one.output(1).stat().st_size for one in self._listeners.values()
        ):
            self._restart(time.monotonic())
            time.sleep(_STEP)
        kill_at = mischief_at = time.monotonic()
        while self.counts["kills"] < plan.kills and (now := time.monotonic()) < until:
            self._restart(now)
            if now >= kill_at:
                kill_at = now + rng.uniform(0.2, 1.8) * plan.interval
                for victim in self._victims():
                    self._kill(victim, now)
            if now >= mischief_at:
                mischief_at = now + rng.uniform(0.5, 4.0) * plan.interval
                if not plan.bug:
                    self._disturb(rng.choice(self._links))
            time.sleep(_STEP)

    def _victims(self) -> list[Actor]:
        running = [actor for actor in self._actors if actor.pid is not None]
        if not running:
            return []
        if self._rng.random() < 0.03:
            return running
        weights = {"broker": 3.0, "listen": 2.0, "sender": 2.0, "script": 1.0}
        if self._plan.bug:
            weights.update(dict.fromkeys(BUGS[self._plan.bug].roles, 10.0))
        return self._rng.choices(running, [weights[actor.role] for actor in running])

    def _kill(self, victim: Actor, now: float) -> None:
        if not victim.kill():
            return
        self.counts["kills"] += 1
        self.counts[f"kills of {victim.role}"] += 1
        away = self._rng.choice((0.0, 0.3, 0.6, 1.0, 2.0) if victim is self._broker else (0.0, 0.2, 0.5, 1.0, 2.0, 6.0))
        self._due[victim] = now + away * self._plan.interval

    def _restart(self, now: float) -> None:
        for actor in self._actors:
            code = actor.look()
            if code is not None:
                self._due[actor] = now + self._rng.uniform(0.1, 1.0)
            if actor.pid is None and now >= self._due[actor]:
                actor.start()

    def _disturb(self, link: Link) -> None:
        if self._rng.random() < 0.6:
            link.cut()
            self.counts["cuts"] += 1
        else:
            long = self._rng.random() < 0.1
            link.stall(self._plan.stall if long else self._rng.uniform(0.0, min(3.0, self._plan.stall)))
            self.counts["stalls"] += 1

    # Bringing it to an end

    def settle(self) -> None:
        """Kill everything once more; then let whoever has been away come, and wait until nothing changes any more."""
        for actor in self._actors:
            if actor.kill():
                self.counts["kills"] += 1
                self.counts[f"kills of {actor.role}"] += 1
        self._broker.start()
        wait_for_broker(self._broker, self._folder / "broker")
        for name in NAMES:
            end_leases(self._home, name)
            self._listeners.setdefault(name, self._listener(name, self._port))
        # A process of the profile sends what is left, as it would at the next `send`.
        retries = [self._retry(name) for name in (*SENDERS, SCRIPT)]
        self._actors += retries
        with contextlib.ExitStack() as stack:
            profiles = [stack.enter_context(opened(self._home, name)) for name in NAMES]
            before: list[int] = []
            moved = time.monotonic()
            patience = _SHOW_MAX
            while time.monotonic() < moved + patience:
                for actor in (*retries, *self._listeners.values()):
                    actor.look()
                    actor.start()
                to_show = [unshown(profile) for profile in profiles]
                left = [*to_show, *(unsettled(profile) for profile in profiles)]
                if not any(left):
                    break
                if left != before:
                    before, moved = left, time.monotonic()
                patience = _SHOW_MAX if any(to_show) else self._plan.patience
                time.sleep(10 * _STEP)
        for actor in (*retries, *self._listeners.values(), self._broker):
            actor.stop()

    def _retry(self, name: str) -> Actor:
        command = [*self._cli(name, self._port), "outbox", "retry"]
        return self._actor("sender", f"retry-{name}", lambda: command, fine=(0, 3, 8))

    def evidence(self) -> Evidence:
        """What there is in the end."""
        found = Evidence()
        for name in NAMES:
            take_down(found, self._home, name, self._journal(name))
            actor = self._listeners[name]
            found.shown[name] = [read_shown(actor.output(run)) for run in range(1, actor.runs + 1)]
        found.journals[SCRIPT] += self._script_told()
        for actor in (*self._actors, *self._listeners.values()):
            found.accidents += dict.fromkeys(actor.accidents)
        return found

    def _script_told(self) -> Iterator[Told]:
        """What the commands of the script have printed for whoever called them."""
        for run in range(1, self._script.runs + 1):
            for said in map(msgspec.json.decode, whole_lines(self._script.output(run))):
                if said["type"] == "sent":
                    id_ = from_b64url(said["id"], MID_BYTES)
                    yield from (Told(id_, user, Outcome(outcome)) for user, outcome in said["recipients"].items())


def _free_port(rng: random.Random) -> int:
    """A port that the system gives to nobody by itself: the broker must find it free whenever it starts again."""
    while True:
        port = rng.randrange(20_000, 32_000)
        if port_is_free(port):
            return port
