"""The broker's files: what it keeps, what it refuses, and what it leaves behind."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.files import KEY_NAME, connection_file, data_folder, load_or_make_keys
from core.errors import BrokerFailed
from core.places import FILE_NAME, ConnectionFile, decode_connection_file, encode_connection_file, runtime_copy


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the copy for local clients goes."""
    (tmp_path / "run").mkdir(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    return runtime_copy()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with data_folder(tmp_path / "data") as held:
        yield held


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def content(pid: int = os.getpid(), port: int = 4242) -> ConnectionFile:
    return ConnectionFile.describe("127.0.0.1", port, bytes(32), pid)


def test_the_key_is_made_once_and_kept(folder: Path) -> None:
    made = load_or_make_keys(folder)
    assert load_or_make_keys(folder) == made
    assert mode(folder) == 0o700
    assert mode(folder / KEY_NAME) == 0o600
    assert made.secret.hex() not in repr(made)


@pytest.mark.parametrize("loose", [0o640, 0o604, 0o644, 0o660, 0o666])
def test_a_key_that_others_could_read_is_refused(folder: Path, loose: int) -> None:
    load_or_make_keys(folder)
    (folder / KEY_NAME).chmod(loose)
    with pytest.raises(BrokerFailed, match="open to other users"):
        load_or_make_keys(folder)


@pytest.mark.parametrize("raw", [b"", b"x", bytes(63), bytes(65), bytes(1 << 20)])
def test_a_damaged_key_is_refused_and_left_as_it_is(folder: Path, raw: bytes) -> None:
    path = folder / KEY_NAME
    path.touch(0o600)
    path.write_bytes(raw)
    with pytest.raises(BrokerFailed, match="damaged"):
        load_or_make_keys(folder)
    assert path.read_bytes() == raw


def test_a_key_that_cannot_be_read_is_refused_and_left_as_it_is(folder: Path) -> None:
    (folder / "elsewhere").write_bytes(bytes(64))
    (folder / KEY_NAME).symlink_to(folder / "elsewhere")
    with pytest.raises(BrokerFailed, match="cannot be read"):
        load_or_make_keys(folder)
    assert (folder / KEY_NAME).is_symlink()


@pytest.mark.parametrize("what", ["folder", "pipe"])
def test_a_key_that_is_no_file_is_refused(folder: Path, what: str) -> None:
    if what == "folder":
        (folder / KEY_NAME).mkdir(0o700)
    else:
        os.mkfifo(folder / KEY_NAME, 0o600)
    with pytest.raises(BrokerFailed, match="not a regular file"):
        load_or_make_keys(folder)


def test_one_broker_a_folder(tmp_path: Path) -> None:
    with data_folder(tmp_path / "data"):
        with pytest.raises(BrokerFailed, match="Another broker is using"), data_folder(tmp_path / "data"):
            pass
        with data_folder(tmp_path / "other"):
            pass
    with data_folder(tmp_path / "data"):
        pass


@pytest.mark.parametrize("loose", [0o755, 0o770, 0o701])
def test_a_folder_that_others_could_enter_is_refused(tmp_path: Path, loose: int) -> None:
    tmp_path.chmod(loose)
    with pytest.raises(BrokerFailed, match="open to other users"), data_folder(tmp_path):
        pass


def test_a_folder_that_cannot_be_had_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(BrokerFailed, match="cannot be used"), data_folder(path):
            pass


def test_the_connection_file_is_there_while_the_broker_runs(folder: Path, runtime: Path) -> None:
    with connection_file(folder, content()) as found:
        assert found
        for path in (folder / FILE_NAME, runtime):
            assert decode_connection_file(path.read_bytes()) == content()
            assert mode(path) == 0o600
    assert not (folder / FILE_NAME).exists()
    assert not runtime.exists()
    assert {path.name for path in folder.iterdir()} == {"broker.lock"}


def test_the_copy_of_a_running_broker_is_not_taken(folder: Path, runtime: Path, tmp_path: Path) -> None:
    with data_folder(tmp_path / "other") as other, connection_file(other, content(port=1111)) as found:
        assert found
        first = runtime.read_bytes()
        with connection_file(folder, content()) as found_too:
            assert not found_too
            assert runtime.read_bytes() == first
            assert decode_connection_file((folder / FILE_NAME).read_bytes()) == content()
        assert runtime.read_bytes() == first


@pytest.mark.parametrize("left", ["whole", "torn", "other version"])
def test_a_copy_that_nobody_stands_for_is_replaced(folder: Path, runtime: Path, left: str) -> None:
    """Also one whose process id another process has by now: init, in this case."""
    whole = encode_connection_file(content(1, 1111))
    raw = {"whole": whole, "torn": whole[:20], "other version": whole.replace(b'"v":1', b'"v":2')}[left]
    runtime.parent.mkdir(parents=True)
    runtime.write_bytes(raw)
    with connection_file(folder, content()) as found:
        assert found
        assert decode_connection_file(runtime.read_bytes()) == content()
    assert not runtime.exists()


def test_what_another_broker_wrote_meanwhile_is_left(folder: Path, runtime: Path) -> None:
    other = encode_connection_file(content(port=1111))
    with connection_file(folder, content()):
        runtime.write_bytes(other)
    assert runtime.read_bytes() == other


def test_a_broker_runs_without_its_copy_but_not_without_its_own_file(tmp_path: Path, folder: Path, runtime: Path) -> None:
    runtime.mkdir(parents=True)  # a folder where the copy should be
    with connection_file(folder, content()) as found:
        assert not found
    (folder / FILE_NAME).mkdir()
    with pytest.raises(BrokerFailed, match="cannot be written"), connection_file(folder, content()):
        pass
    assert {path.name for path in folder.iterdir()} == {"broker.lock", FILE_NAME}
