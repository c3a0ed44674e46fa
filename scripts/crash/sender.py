"""A sender: one process of a profile that sends at random, and writes down what it is told, until somebody kills it."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import random
import threading
import time
from pathlib import Path
from typing import Final

from clients.chat import ChatClient
from clients.profiles import OpenProfile
from core.address import BrokerAddress
from core.bundle import Suite
from core.errors import NobodyHere
from core.events import Receipt
from core.limits import MID_BYTES
from core.messages import Mode
from core.names import EVERYONE
from scripts.crash.journal import Handed, Journal, Told, Tried

CURSOR: Final = "crash"  # up to where what became of messages is in the journal
_BURST: Final = 24


def unique_texts(name: str) -> itertools.chain[str]:
    """Texts that nobody sent before, some of them long."""
    run = os.urandom(6).hex()
    return itertools.chain.from_iterable(
        (f"{name} {run} {n}", f"{name} {run} {n} and " + "more " * (n % 700)) for n in itertools.count(0, 2)
    )


class Sender:
    """Sends to ``others``, at ``pace`` messages a second in the long run."""

    def __init__(self, client: ChatClient, journal: Journal, others: list[str], pace: float, rng: random.Random) -> None:
        self._client = client
        self._journal = journal
        self._others = others
        self._pace = pace
        self._rng = rng
        self._texts = unique_texts(client.user)
        self._teller = threading.Thread(target=self._tell, name="teller", daemon=True)

    def run(self) -> None:
        """Send until killed, or until whoever started this has gone."""
        parent = os.getppid()
        self._teller.start()
        while os.getppid() == parent and self._teller.is_alive():
            number = self._rng.choice((1, 1, 1, 1, 1, 1, 1, _BURST))
            for _ in range(number):
                self._send()
            time.sleep(self._rng.expovariate(self._pace / number))

    def _send(self) -> None:
        text = next(self._texts)
        suite = Suite.CHUNKED if len(text) < 100 and self._rng.random() < 0.2 else Suite.HYBRID
        to = self._rng.choice(([self._rng.choice(self._others)], [self._rng.choice(self._others)], self._others, EVERYONE))
        self._journal.say(Tried(text))
        with contextlib.suppress(NobodyHere):  # none of the others has been met yet
            self._journal.say(Handed(self._client.send(text, to, suite=suite, id_=os.urandom(MID_BYTES))))

    def _tell(self) -> None:
        for event in self._client.events(cursor=CURSOR):
            if isinstance(event, Receipt) and (event.outcome.final or event.outcome.safe):
                self._journal.say(Told(event.id, event.user, event.outcome))


def main() -> None:
    """Send as a profile."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--profile", required=True)
    parser.add_argument("--broker", type=BrokerAddress.parse, required=True)
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--pace", type=float, required=True)
    parser.add_argument("--seed", required=True)
    parser.add_argument("others", nargs="+")
    options = parser.parse_args()
    with contextlib.closing(OpenProfile(options.home, options.profile, None)) as profile:
        client = ChatClient(profile, options.broker, mode=Mode.SEND)
        client.start()
        with contextlib.closing(client), contextlib.closing(Journal(options.journal)) as journal:
            Sender(client, journal, options.others, options.pace, random.Random(options.seed)).run()


if __name__ == "__main__":
    main()
