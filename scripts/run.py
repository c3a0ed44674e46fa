"""``make run``: the broker and the page on this machine, until Ctrl-C; ``python -m scripts.run page``: the page alone."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

from clients.discovery import find_broker
from core.address import BrokerAddress
from core.errors import SecureChatError
from core.places import default_data_dir
from scripts.processes import (
    BROKER,
    BROKER_PORT,
    LOCAL,
    UI_PORT,
    Failed,
    Processes,
    Stopped,
    broker_answers,
    port_setting,
    start_broker,
    start_page,
)

CLI = ".venv/bin/securechat-cli"
_PAGE_ALONE = """
The page is running at {url}, and finds no broker on this machine yet.

  1. Start one in another terminal, and the page finds it by itself:

       make broker

  2. Or paste the securechat:// line of another one there.

Press Ctrl-C here to stop it.
"""


def main(arguments: Sequence[str]) -> int:
    """Start what is asked for, and wait; returns the exit code."""
    try:
        with Processes() as processes:
            broker, again = (None, "") if "page" in arguments else find_or_start_broker(processes)
            url = start_page(processes, port_setting("UI_PORT", UI_PORT), broker)
            found = broker or find_broker()
            print(what_next(url, cli(broker)) if found else _PAGE_ALONE.format(url=url), flush=True)
            processes.forever({BROKER: f"The page stays, and waits for it; start it again with:\n\n       {again}\n"})
    except Stopped:
        print("\nStopped.")
    except (Failed, SecureChatError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def find_or_start_broker(processes: Processes) -> tuple[BrokerAddress, str]:
    """The broker that runs on this machine already, where its port is the wanted one, or else one started now.

    With it comes what starts that broker again.
    """
    port = port_setting("PORT", BROKER_PORT)
    data = default_data_dir()
    again = [".venv/bin/securechat-broker", "--host", LOCAL]
    if port != BROKER_PORT:
        again += ["--port", str(port)]
    running = find_broker()
    if running is not None and broker_answers(running):
        if running.port == port:
            print(f"A broker of yours runs on {running.where} already: this page uses it.", flush=True)
            return running, shlex.join(again)
        data = data.with_name(f"{data.name}-{port}")  # the other one holds its folder
        again += ["--data", str(data)]
    return start_broker(processes, port, data), shlex.join(again)


def cli(broker: BrokerAddress | None) -> str:
    """How to call the command line so that it uses ``broker``: it finds the one in the usual place by itself."""
    return CLI if broker is None or find_broker() == broker else f"{CLI} --broker {broker.url}"


def what_next(url: str, command: str) -> str:
    """What a person does next: the page is at ``url``, and ``command`` is the command line."""
    return f"""
SecureChat is running.

  1. Open {url}, type a name, say alice, and press Connect.
  2. In another terminal, be bob and write to alice:

       {command} --as bob send alice 'hello from the terminal'

  3. Or stay and listen, and let alice write to you:

       {command} --as bob listen

Press Ctrl-C here to stop it.
"""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
