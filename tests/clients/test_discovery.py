"""Finding the broker, and not believing just any file about it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.discovery import VARIABLE, UnsafeConnectionFile, choose_broker, find_broker
from core.address import BrokerAddress
from core.errors import BadAddress, NoBrokerFound
from core.places import FILE_NAME, ConnectionFile, default_data_dir, encode_connection_file, runtime_copy

KEY = bytes(range(32))
NAMED = BrokerAddress(("broker.example.org",), 4242, KEY)


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The two files that are looked at, in this order; neither is there."""
    (tmp_path / "run").mkdir(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    found = runtime_copy(), default_data_dir() / FILE_NAME
    for path in found:
        assert tmp_path in path.parents
        path.parent.mkdir(parents=True, mode=0o700)
    return found


_HELD: list[int] = []


def write(path: Path, *, port: int = 1111, runs: bool = True, mode: int = 0o600, raw: bytes | None = None) -> None:
    """A connection file of a broker that runs, or ran; the process id in it is in use either way."""
    content = ConnectionFile.describe("127.0.0.1", port, KEY, os.getpid())
    path.unlink(missing_ok=True)
    path.write_bytes(encode_connection_file(content) if raw is None else raw)
    path.chmod(mode)
    if runs:
        _HELD.append(os.open(path, os.O_WRONLY))
        fcntl.flock(_HELD[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.fixture(autouse=True)
def let_go() -> Iterator[None]:
    """End all brokers."""
    yield
    while _HELD:
        os.close(_HELD.pop())


def test_nothing_runs_here() -> None:
    assert find_broker() is None
    with pytest.raises(NoBrokerFound):
        choose_broker(None, {})


def test_the_runtime_folder_comes_first_and_a_dead_broker_counts_for_nothing(places: tuple[Path, Path]) -> None:
    write(places[1], port=2222)
    assert choose_broker(None, {}).port == 2222
    write(places[0], port=1111)
    assert choose_broker(None, {}) == BrokerAddress(("127.0.0.1",), 1111, KEY)
    write(places[0], port=1111, runs=False)
    assert choose_broker(None, {}).port == 2222


def test_what_is_named_comes_before_what_is_found(places: tuple[Path, Path]) -> None:
    write(places[0])
    other = BrokerAddress(("other.example.org",), 1, KEY)
    assert choose_broker(NAMED.url, {VARIABLE: other.url}) == NAMED
    assert choose_broker(None, {VARIABLE: other.url}) == other
    assert choose_broker(None, {VARIABLE: ""}).port == 1111


def test_a_profiles_broker_is_found_where_it_is_now(places: tuple[Path, Path]) -> None:
    elsewhere, before = BrokerAddress(("broker.example.org",), 1, bytes(32)), BrokerAddress(("127.0.0.1",), 1, KEY)
    for profiles in (elsewhere, before):
        assert choose_broker(None, {}, fallback=profiles) == profiles
    write(places[0], port=2222)
    assert choose_broker(None, {}, fallback=elsewhere) == elsewhere
    assert choose_broker(None, {}, fallback=before).port == 2222
    assert choose_broker(NAMED.url, {}, fallback=before) == choose_broker(None, {VARIABLE: NAMED.url}, fallback=before) == NAMED
    places[0].chmod(0o666)
    assert choose_broker(None, {}, fallback=before) == before  # no file that others could have written is asked


@pytest.mark.parametrize("where", ["flag", "variable"])
def test_an_invite_must_not_stand_where_others_can_read_it(where: str) -> None:
    line = f"{NAMED.url}/{'A' * 43}"
    with pytest.raises(BadAddress, match="invite") as caught:
        choose_broker(line if where == "flag" else None, {VARIABLE: line})
    assert "A" * 43 not in str(caught.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o666])
def test_a_file_that_others_can_touch_is_not_used(places: tuple[Path, Path], mode: int) -> None:
    write(places[0], mode=mode)
    with pytest.raises(UnsafeConnectionFile, match="other users can read or write it") as caught:
        find_broker()
    assert str(places[0]) in str(caught.value)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_not_used(places: tuple[Path, Path]) -> None:
    write(places[0])
    os.chown(places[0], 65534, -1)
    with pytest.raises(UnsafeConnectionFile, match="belongs to another user"):
        find_broker()


@pytest.mark.parametrize("what", ["pipe", "folder", "link"])
def test_what_is_no_file_is_not_used(places: tuple[Path, Path], what: str, tmp_path: Path) -> None:
    write(tmp_path / "real")
    if what == "pipe":
        os.mkfifo(places[0], 0o600)
    elif what == "folder":
        places[0].mkdir(0o700)
    else:
        places[0].symlink_to(tmp_path / "real")
    with pytest.raises(UnsafeConnectionFile, match="cannot be read" if what == "link" else "not a regular file"):
        find_broker()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b'{"v":1}',
        b"\xff",
        b'{"v":2,"url":"x","host":"h","port":1,"key":"k","pid":1}',
        b'{"v":1,"url":"http://x","host":"h","port":1,"key":"k","pid":1}',
        b'{"v":1,"url":"x","host":"h","port":1,"key":"k","pid":0}',
        b'{"v":1,"url":"x","host":"h","port":1,"key":"k","pid":-1}',
        encode_connection_file(ConnectionFile.describe("127.0.0.1", 1, KEY, 2**63 - 1)),
        b"[" * 4000,
    ],
)
def test_a_file_that_says_nothing_is_passed_over(places: tuple[Path, Path], raw: bytes) -> None:
    write(places[0], raw=raw)
    assert find_broker() is None
    write(places[1], port=2222)
    found = find_broker()
    assert found is not None
    assert found.port == 2222
