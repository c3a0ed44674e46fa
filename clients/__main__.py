"""Where ``securechat-cli`` begins. Until its modules are loaded there is nothing that Ctrl-C could not end at once."""

from __future__ import annotations

import os
import signal
from typing import NoReturn

_INTERRUPTED = 130


def main() -> NoReturn:
    """Run the command line."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: os._exit(_INTERRUPTED))
    from clients.cli import main as run

    run()


if __name__ == "__main__":
    main()
