"""The page, ``listen`` and ``send`` of one profile at the same time, and ten profiles that write to it; real processes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from clients.chat import ChatClient
from clients.profiles import OpenProfile
from scripts.crash.people import make_profile
from tests.broker_process import BrokerProcess, cli, listening
from tests.clients.profiles.people import Env, home, ok
from tests.net import PATIENCE, until

SENDERS = [f"sender{number}" for number in range(10)]
EACH = 2


def test_nothing_is_locked_doubled_or_missed(broker: BrokerProcess, bob: Env, person: Callable[[str], Env]) -> None:
    envs = {name: person(name) for name in SENDERS}
    for number, name in enumerate(SENDERS):
        make_profile(home(envs[name], name).parent.parent, name, number)
    said = {name: [f"{name} says {number}" for number in range(EACH)] for name in SENDERS}
    own = {way: [f"{number} from {way}" for number in range(3)] for way in ("the page", "a script")}

    def send(env: Env, to: str, texts: Sequence[str]) -> list[str]:
        return [ok(cli(env, "send", to, text)).err for text in texts]

    with contextlib.ExitStack() as stack:
        listen = stack.enter_context(listening(bob, None, "--json"))
        profile = stack.enter_context(contextlib.closing(OpenProfile(home(bob, "bob").parent.parent, "bob", None)))
        page = stack.enter_context(ChatClient(profile, broker.address, events=False))
        pool = stack.enter_context(ThreadPoolExecutor(len(SENDERS) + 1))
        ok(cli(envs[SENDERS[0]], "users"))  # known from now on, so that bob can write to it
        running = [pool.submit(send, envs[name], "bob", said[name]) for name in SENDERS]
        running.append(pool.submit(send, bob, SENDERS[0], own["a script"]))
        ids = [page.send(text, SENDERS[0]) for text in own["the page"]]
        told = [line for one in running for line in one.result(10 * PATIENCE)]
        assert [line for line in told if not line.startswith("sent to ")] == []
        assert {outcome for id_ in ids for outcome in page.wait_sent(id_, PATIENCE).values()} == {"stored"}
        until(lambda: len(listen.out.lines) == EACH * len(SENDERS))
        printed = [(line["from"], line["text"]) for line in map(json.loads, listen.out.lines)]
        shown = [(line["from"], line["text"]) for line in ok(cli(bob, "history", "--json")).data if line["type"] == "message"]
        until(lambda: all(len([line for line in page.timeline(name) if not line.mine]) == EACH for name in SENDERS))
        for name in SENDERS:
            assert [text for sender, text in shown if sender == name] == said[name]
            assert [line.text for line in page.timeline(name) if not line.mine and line.sender == name] == said[name]
        assert shown == printed
        all_own = sorted(own["the page"] + own["a script"])  # the page looks for what others wrote twice a second
        until(lambda: len([line for line in page.timeline(SENDERS[0]) if line.mine]) >= len(all_own))
        assert sorted(line.text for line in page.timeline(SENDERS[0]) if line.mine) == all_own
        assert "locked" not in listen.err.text
    texts = [line["text"] for line in ok(cli(envs[SENDERS[0]], "listen", "-n", "6", "--json")).data]
    for way in own.values():
        assert [text for text in texts if text in way] == way
    assert len(listen.out.lines) == EACH * len(SENDERS)
