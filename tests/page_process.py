"""The page as the process that people start."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.broker_process import Running, environment
from tests.net import unused_port


@contextmanager
def page_server(home: Path, **more: str) -> Iterator[str]:
    """The page at a free port, for who lives in ``home``, with ``more`` in its environment; gives its URL."""
    port = str(unused_port())
    command = [sys.executable, "-m", "streamlit", "run", "clients/streamlit_app.py", "--server.port", port]
    with Running(command, environment(home, **more)) as page:
        page.out.has("URL:")
        yield f"http://127.0.0.1:{port}"
        page.end()
