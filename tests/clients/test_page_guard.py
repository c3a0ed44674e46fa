"""Who may use the page, with real sockets and the real page."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest
from starlette.types import Message, Receive, Scope, Send

from clients.page_guard import TABLES, Guard, PageBehindProxy, PageOfSomebodyElse, owner_of
from tests.page_process import page_server

NOBODY = 65534
LOOPBACK = "127.0.0.1"
STREAM = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}

tables_are_here = pytest.mark.skipif(not TABLES[0].exists(), reason="this system does not tell whose a socket is")
as_root = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("bash"), reason="only root can be somebody else, with bash")


class Pair:
    """The two ends of a connection within this machine."""

    def __init__(self, server: str, client: str) -> None:
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        with socket.socket(family) as listener:
            listener.bind((server, 0))
            listener.listen()
            port = listener.getsockname()[1]
            self.client = socket.create_connection((client, port))
            self.server, peer = listener.accept()
        self.ends = (peer[:2], (self.server.getsockname()[0], port))

    def close(self) -> None:
        self.client.close()
        self.server.close()


@pytest.fixture(params=[(LOOPBACK, LOOPBACK), ("::1", "::1"), ("::", LOOPBACK), (LOOPBACK, "::ffff:127.0.0.1")], ids="-".join)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    try:
        connected = Pair(*request.param)
    except OSError as error:
        pytest.skip(f"no such addresses here: {error}")
    with closing(connected):
        yield connected


@tables_are_here
def test_a_socket_is_known_to_be_ones_own(pair: Pair) -> None:
    client, server = pair.ends
    assert owner_of(client, server) == os.geteuid()
    assert owner_of(client, (server[0], server[1] ^ 1)) is None
    assert owner_of((client[0], client[1] ^ 1), server) is None


@tables_are_here
def test_who_has_closed_already_is_not_taken_for_root(pair: Pair) -> None:
    pair.client.close()
    assert owner_of(*pair.ends) is None


@tables_are_here
@as_root
def test_a_socket_is_known_to_be_anothers(pair: Pair) -> None:
    os.fchown(pair.client.fileno(), NOBODY, -1)
    assert owner_of(*pair.ends) == NOBODY
    assert "".join(told(pair)) == f"403 {PageOfSomebodyElse()} {PageOfSomebodyElse().advice}\n"


@tables_are_here
def test_who_has_not_closed_is_served_and_no_proxy_is(pair: Pair) -> None:
    assert told(pair) == ["200 ", "served"]
    assert told(pair, header=b"x-forwarded-for")[0] == "403 "
    assert str(PageBehindProxy()) in told(pair, header=b"x-forwarded-for")[1]
    pair.client.close()
    assert told(pair)[0] == "403 "


def test_whoever_comes_is_served_where_the_system_does_not_tell(pair: Pair, tmp_path: Path) -> None:
    assert told(pair, tables=(tmp_path / "none",)) == ["200 ", "served"]
    assert told(pair, tables=(tmp_path / "none",), header=b"x-forwarded-for") == ["200 ", "served"]


@tables_are_here
def test_other_machines_are_served_where_the_page_is_on_an_address_for_them() -> None:
    here, away = ("192.0.2.1", 8501), ("192.0.2.2", 40000)
    assert answer({"client": away, "server": here})[0] == "200 "
    assert answer({"client": away, "server": (LOOPBACK, 8501)})[0] == "403 "
    assert answer({"client": None, "server": None})[0] == "403 "


def told(pair: Pair, *, header: bytes = b"accept", tables: tuple[Path, ...] = TABLES) -> list[str]:
    client, server = pair.ends
    return answer({"client": client, "server": server, "headers": [(header, b"127.0.0.1:1")]}, tables)


def answer(scope: Scope, tables: tuple[Path, ...] = TABLES) -> list[str]:
    """What is sent to who asks: the status, and the body."""
    sent: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"served"})

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(f"{message['status']} " if "status" in message else message["body"].decode())

    whole = {"type": "http", "method": "GET", "path": "/", "headers": [], **scope}
    asyncio.run(Guard(app, tables)(whole, receive, send))
    return sent


# The page itself


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Where the page is."""
    with page_server(tmp_path_factory.mktemp("home")) as url:
        yield int(url.rpartition(":")[2])


def ask(port: int, path: str, headers: dict[str, str] | None = None) -> HTTPResponse:
    with closing(HTTPConnection(LOOPBACK, port, timeout=60)) as connection:
        connection.request("GET", path, headers=headers or {})
        return connection.getresponse()


def ask_as_nobody(port: int, path: str, headers: dict[str, str] | None = None) -> str:
    """The answer to another user of this machine."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {LOOPBACK}:{port}"]
    lines += [f"{name}: {value}" for name, value in (headers or {"Connection": "close"}).items()]
    request = "".join(f"{line}\r\n" for line in [*lines, ""])
    script = f"exec 3<>/dev/tcp/{LOOPBACK}/{port}; cat >&3; cat <&3"
    command = ["bash", "-c", script]
    done = subprocess.run(
        command, input=request, capture_output=True, text=True, timeout=60, check=True, user=NOBODY, group=NOBODY, cwd="/"
    )
    return done.stdout


@tables_are_here
@as_root
@pytest.mark.parametrize("path", ["/", "/_stcore/health", "/media/x.png", "/component/streamlit_autorefresh.x/index.html"])
def test_another_user_of_this_machine_gets_nothing_of_the_page(port: int, path: str) -> None:
    said = ask_as_nobody(port, path)
    assert said.startswith("HTTP/1.1 403 ")
    assert said.endswith(f"\n\n{PageOfSomebodyElse()} {PageOfSomebodyElse().advice}\n")


@tables_are_here
@as_root
def test_another_user_of_this_machine_gets_no_session(port: int) -> None:
    assert ask(port, "/_stcore/stream", STREAM).status == HTTPStatus.SWITCHING_PROTOCOLS
    assert ask_as_nobody(port, "/_stcore/stream", STREAM).startswith("HTTP/1.1 403 ")


@tables_are_here
@as_root
def test_another_user_does_not_pass_for_one_who_may(port: int) -> None:
    with socket.create_connection((LOOPBACK, port)) as mine:
        for known in (f"{LOOPBACK}:{mine.getsockname()[1]}", LOOPBACK, "192.0.2.2", "nonsense", ""):
            said = ask_as_nobody(port, "/", {"X-Forwarded-For": known, "Connection": "close"})
            assert said.startswith("HTTP/1.1 403 ")


def test_who_runs_the_page_is_served_and_nobody_may_frame_it(port: int) -> None:
    served = ask(port, "/")
    assert served.status == HTTPStatus.OK
    assert served.headers["X-Frame-Options"] == "DENY"
    assert served.headers["Content-Security-Policy"] == "frame-ancestors 'none'"
    assert served.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    framed = ask(port, "/component/streamlit_autorefresh.st_autorefresh/index.html")  # which the page itself frames
    assert framed.headers["X-Frame-Options"] == "SAMEORIGIN"
    assert framed.headers["Content-Security-Policy"] == "frame-ancestors 'self'"
