"""``make run`` and what make installs with: real processes, on free ports, with folders of their own."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.chat import ChatClient
from clients.pictures import picture_type
from clients.view import text_of
from core.address import BrokerAddress
from core.content import File
from core.events import Message, MessageReceived
from scripts.demo import WELCOME
from scripts.processes import broker_answers, port_is_free
from tests.net import unused_port

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """An environment in which nothing of this user's is found."""
    places = {"XDG_RUNTIME_DIR": tmp_path / "runtime", "XDG_STATE_HOME": tmp_path / "state"}
    for folder in places.values():
        folder.mkdir(mode=0o700)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SECURECHAT_")}
    return {**kept, **{name: str(folder) for name, folder in places.items()}, "PYTHONUNBUFFERED": "1"}


@contextlib.contextmanager
def started(environ: dict[str, str], *module: str, **settings: int) -> Iterator[subprocess.Popen[str]]:
    """A Python module in a process of its own, asked to end when the test is done with it."""
    ports = {name: str(port) for name, port in settings.items()}
    with subprocess.Popen(
        [sys.executable, "-m", *module],
        cwd=ROOT,
        env={**environ, **ports},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()


def told(process: subprocess.Popen[str], what: str, *, by: str = "stdout") -> str:
    """What a process says, up to the line with ``what`` in it."""
    stream = process.stdout if by == "stdout" else process.stderr
    assert stream is not None
    lines = []
    for line in stream:
        lines.append(line)
        if what in line:
            return "".join(lines)
    rest = process.communicate()
    raise AssertionError(f"it ended without a word of {what!r}: {''.join(lines)} {rest}")


def connection_file(environ: dict[str, str]) -> dict[str, object]:
    """What a local broker wrote down for its clients."""
    content = json.loads((Path(environ["XDG_RUNTIME_DIR"]) / "securechat" / "broker.json").read_bytes())
    assert isinstance(content, dict)
    return content


def runs(pid: object) -> bool:
    """Whether there is such a process."""
    assert isinstance(pid, int)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def page(port: int, path: str = "/") -> tuple[int, str]:
    """The status and the body that the page answers with."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


@pytest.fixture
def two_ports() -> tuple[int, int]:
    """Two free ports, for the broker and the page."""
    one, other = unused_port(), unused_port()
    return (one, other) if one != other else (one, unused_port())


@pytest.mark.parametrize("runtime", ["set", "unset"])
def test_the_broker_says_first_where_it_listens(environ: dict[str, str], tmp_path: Path, runtime: str) -> None:
    if runtime == "unset":
        del environ["XDG_RUNTIME_DIR"]
    with started({**environ, "TMPDIR": str(tmp_path)}, "broker", "--host", "127.0.0.1", "--port", "0") as broker:
        assert broker.stderr is not None
        assert re.fullmatch(r"INFO:broker:Server listening on 127[.]0[.]0[.]1:[0-9]+\n", broker.stderr.readline())
        broker.terminate()
        broker.communicate()
    assert broker.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_starts_both_says_where_and_leaves_nothing(
    environ: dict[str, str], two_ports: tuple[int, int], number: signal.Signals
) -> None:
    port, ui_port = two_ports
    with started(environ, "scripts.run", PORT=port, UI_PORT=ui_port) as run:
        said = told(run, "Ctrl-C")
        assert f"http://127.0.0.1:{ui_port}" in said
        assert "\n       .venv/bin/securechat-cli --as bob listen\n" in said
        broker = connection_file(environ)
        assert broker["port"] == port
        assert broker_answers(BrokerAddress.parse(str(broker["url"])))
        status, body = page(ui_port)
        assert status == http.client.OK
        assert "<title>" in body
        assert json.loads(page(ui_port, "/_stcore/host-config")[1])["allowedOrigins"] == []
        run.send_signal(number)
        assert run.communicate()[0].split() == ["Stopped."]
    assert run.returncode == 0
    assert not runs(broker["pid"])
    assert port_is_free(port)
    assert port_is_free(ui_port)


def test_the_page_outlives_its_broker_and_says_how_to_start_it_again(
    environ: dict[str, str], two_ports: tuple[int, int]
) -> None:
    port, ui_port = two_ports
    with started(environ, "scripts.run", PORT=port, UI_PORT=ui_port) as run:
        told(run, "Ctrl-C")
        before = connection_file(environ)
        assert isinstance(before["pid"], int)
        os.kill(before["pid"], signal.SIGKILL)
        said = told(run, "securechat-broker")
        assert "The broker was ended by SIGKILL. The page stays" in said
        words = shlex.split(said.splitlines()[-1])
        assert words == [".venv/bin/securechat-broker", "--host", "127.0.0.1", "--port", str(port)]
        with started(environ, "broker", *words[1:]) as broker:
            told(broker, "find it by themselves", by="stderr")
            assert connection_file(environ)["url"] == before["url"]
            assert page(ui_port)[0] == http.client.OK
            run.send_signal(signal.SIGINT)
            run.communicate()
            assert run.returncode == 0
            broker.terminate()
            broker.communicate()
    assert port_is_free(ui_port)


def test_run_uses_the_broker_that_runs_and_leaves_it_running(
    environ: dict[str, str], two_ports: tuple[int, int], free_port: int
) -> None:
    port, ui_port = two_ports
    with started(environ, "broker", "--host", "127.0.0.1", "--port", str(port)) as broker:
        told(broker, "find it by themselves", by="stderr")
        pid = connection_file(environ)["pid"]
        with started(environ, "scripts.run", PORT=port, UI_PORT=ui_port) as run:
            assert f"A broker of yours runs on 127.0.0.1:{port} already" in told(run, "Ctrl-C")
            run.send_signal(signal.SIGINT)
            run.communicate()
        assert runs(pid)
        with started(environ, "scripts.run", PORT=free_port, UI_PORT=ui_port) as other:
            said = told(other, "Ctrl-C")
            assert f"--broker securechat://127.0.0.1:{free_port}/" in said
            other.send_signal(signal.SIGINT)
            other.communicate()
        assert runs(pid)
        broker.terminate()
        broker.communicate()


def test_demo_guests_greet_a_visitor_and_answer(environ: dict[str, str], two_ports: tuple[int, int], tmp_path: Path) -> None:
    port, ui_port = two_ports
    with started(environ, "scripts.demo", PORT=port, UI_PORT=ui_port) as demo:
        assert f"http://127.0.0.1:{ui_port}/?as=alice" in told(demo, "Ctrl-C")
        address = BrokerAddress.parse(str(connection_file(environ)["url"]))
        with ChatClient("alice", address) as alice:
            heard = _received(alice)
            welcome = [next(heard) for _ in WELCOME]
            assert [one.sender for one in welcome] == [name for name, *_ in WELCOME]
            assert [one.to for one in welcome if not one.everyone] == [("alice",)]
            (picture,) = [one.content for one in welcome if isinstance(one.content, File)]
            shown = alice.files.download(picture, tmp_path)
            assert picture_type(shown.read_bytes()) == "image/png"
            alice.send("how do you do", "bob")
            answer = next(heard)
            assert (answer.sender, answer.to) == ("bob", ("alice",))
            assert "13 characters, signed by alice" in text_of(answer.content)
        demo.send_signal(signal.SIGINT)
        assert demo.communicate()[0].split() == ["Stopped."]
    assert demo.returncode == 0
    assert port_is_free(port)
    assert port_is_free(ui_port)


def _received(client: ChatClient) -> Iterator[Message]:
    for event in client.events(timeout=60):
        if isinstance(event, MessageReceived):
            yield event.message


def test_the_page_takes_the_next_free_port(environ: dict[str, str], free_port: int) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", free_port))
        other.listen()
        with started(environ, "scripts.run", "page", UI_PORT=free_port) as run:
            said = told(run, "Ctrl-C")
            found = int(said.partition("http://127.0.0.1:")[2].partition(",")[0])
            assert found > free_port
            assert page(found)[0] == http.client.OK
            run.send_signal(signal.SIGINT)
            run.communicate()
    assert port_is_free(found)


@pytest.mark.parametrize("name", ["PORT", "UI_PORT"])
def test_a_setting_that_is_no_port_is_refused_in_one_sentence(environ: dict[str, str], name: str) -> None:
    with started(environ, "scripts.run", "page" if name == "UI_PORT" else "all", **{name: 70000}) as run:
        out, err = run.communicate()
    assert (run.returncode, out, err) == (1, "", f"{name}=70000 is not a port: give a number from 1 to 65535.\n")


def test_a_port_that_is_taken_is_told_in_one_sentence(environ: dict[str, str], free_port: int) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", free_port))
        other.listen()
        with started(environ, "scripts.run", PORT=free_port) as run:
            out, err = run.communicate()
    assert (run.returncode, out) == (1, "")
    assert err == f"Port {free_port} is taken by another program; choose another one, as in: make run PORT={free_port + 1}\n"


def _python_sh(folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    command = ["/bin/sh", str(ROOT / "scripts" / "python.sh"), "-c", "print('here')"]
    return subprocess.run(command, env={"PATH": str(folder), **environ}, capture_output=True, text=True, check=False)


def test_a_new_enough_python_is_found_beside_an_old_one(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    without = _python_sh(tmp_path)
    assert (without.returncode, without.stdout) == (1, "")
    assert without.stderr.startswith("SecureChat needs Python 3.11 or newer and found none")
    assert without.stderr.count("\n") == 1

    (tmp_path / "python3.12").symlink_to(sys.executable)
    assert _python_sh(tmp_path).stdout == "here\n"
    chosen = _python_sh(tmp_path, PYTHON=str(old))
    assert (chosen.returncode, chosen.stderr) == (1, f"PYTHON={old} is not a Python 3.11 or newer.\n")
