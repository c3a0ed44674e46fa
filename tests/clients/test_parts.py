"""A file that is being fetched: what is there of it, and under which name it ends."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from clients.parts import FileTooBig, PartFile, saved_name
from core.content import File
from core.errors import FileDamaged, FileUnwritable
from core.limits import FILE_CHUNK
from tests.net import until

PLAIN = os.urandom(2 * FILE_CHUNK + 5)


def file_of(plain: bytes, name: str = "a.tar.gz") -> File:
    return File(name, len(plain), hashlib.sha256(plain).digest(), bytes(32), bytes(16))


def fill(part: PartFile, plain: bytes) -> None:
    for at in range(part.chunks * FILE_CHUNK, len(plain), FILE_CHUNK):
        part.write(plain[at : at + FILE_CHUNK])


def complete(part: PartFile) -> Path:
    fill(part, PLAIN)
    return part.finish()


def test_what_was_broken_off_is_found_again_in_whole_chunks(tmp_path: Path) -> None:
    with PartFile(tmp_path, file_of(PLAIN)) as part:
        part.write(PLAIN[:FILE_CHUNK])
        part.write(PLAIN[FILE_CHUNK : 2 * FILE_CHUNK])
    with part.path.open("r+b") as file:
        file.truncate(2 * FILE_CHUNK - 1)  # the disk did not keep all of it
    with PartFile(tmp_path, file_of(PLAIN)) as again:
        assert again.chunks == 1
        fill(again, PLAIN)
        place = again.finish()
    assert place == tmp_path / "a.tar.gz"
    assert place.read_bytes() == PLAIN
    assert list(tmp_path.iterdir()) == [place]


def test_a_part_that_was_altered_meanwhile_is_not_taken(tmp_path: Path) -> None:
    with PartFile(tmp_path, file_of(PLAIN)) as part:
        fill(part, PLAIN)
    part.path.write_bytes(b"x" + PLAIN[1:])
    with PartFile(tmp_path, file_of(PLAIN)) as again:
        assert again.chunks == 3
        with pytest.raises(FileDamaged):
            again.finish()
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    for name, content in (("a.tar.gz", b"mine"), ("a.tar (2).gz", b"mine, too")):
        (tmp_path / name).write_bytes(content)
    with PartFile(tmp_path, file_of(b"theirs")) as part:
        fill(part, b"theirs")
        assert part.finish() == tmp_path / "a.tar (3).gz"
    assert (tmp_path / "a.tar.gz").read_bytes() == b"mine"


def test_a_link_is_neither_followed_nor_replaced(tmp_path: Path) -> None:
    target = tmp_path / "target"
    (tmp_path / "a.tar.gz").symlink_to(target)
    with PartFile(tmp_path, file_of(b"theirs")) as part:
        fill(part, b"theirs")
        assert part.finish() == tmp_path / "a.tar (2).gz"
    assert not target.exists()
    part.path.symlink_to(target)
    with pytest.raises(FileUnwritable), PartFile(tmp_path, file_of(b"theirs")):
        pass
    assert not target.exists()


@pytest.mark.parametrize(
    "other", [{"size": 0}, {"key": bytes([1]) * 32}, {"hash": bytes(32)}, {"blob": bytes([1]) * 16}], ids=str
)
def test_a_message_that_names_somebody_elses_file_leaves_what_has_come_of_it(tmp_path: Path, other: dict[str, Any]) -> None:
    with PartFile(tmp_path, file_of(PLAIN)) as part:
        part.write(PLAIN[:FILE_CHUNK])
    with PartFile(tmp_path, replace(file_of(PLAIN), **other)) as others:
        assert others.chunks == 0
        others.drop()
    with PartFile(tmp_path, file_of(PLAIN)) as again:
        assert again.chunks == 1


@pytest.mark.parametrize("what", ["a file of another user", "another name of a file", "a pipe"])
def test_what_somebody_else_has_laid_there_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    place = PartFile(tmp_path, file_of(PLAIN)).path
    match what:
        case "a pipe":
            os.mkfifo(place)
        case "another name of a file":
            (tmp_path / "mine").write_bytes(PLAIN)
            place.hardlink_to(tmp_path / "mine")
        case _:
            place.write_bytes(PLAIN)
            monkeypatch.setattr(os, "getuid", lambda: -1)
    with (
        pytest.raises(FileUnwritable, match="there is something that SecureChat did not leave there; remove it"),
        PartFile(tmp_path, file_of(PLAIN)),
    ):
        pass
    assert what == "a pipe" or place.read_bytes() == PLAIN


def test_two_do_not_fetch_one_file_at_once(tmp_path: Path) -> None:
    with (
        PartFile(tmp_path, file_of(PLAIN)),
        pytest.raises(FileUnwritable, match="another process is fetching it"),
        PartFile(tmp_path, file_of(PLAIN)),
    ):
        pass


def test_an_empty_file_is_one_empty_chunk(tmp_path: Path) -> None:
    with PartFile(tmp_path, file_of(b"")) as part:
        assert part.chunks == 0
        part.write(b"")
        assert part.finish().read_bytes() == b""


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127 + "a", "x" * 250 + ".jpeg"])
def test_the_longest_names_fit(tmp_path: Path, name: str) -> None:
    for expected in range(2):
        with PartFile(tmp_path, file_of(b"%d" % expected, name)) as part:
            fill(part, b"%d" % expected)
            place = part.finish()
        assert len(place.name.encode()) <= 255
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("sent", "saved"),
    [(".bashrc", "_.bashrc"), ("a.b", "a.b"), ("..a", "_..a"), ("--checkpoint-action=exec=x", "_--checkpoint-action=exec=x")],
)
def test_a_peer_makes_no_hidden_files_and_no_options(sent: str, saved: str) -> None:
    assert saved_name(sent) == saved


def test_a_file_that_the_disk_cannot_hold_is_not_begun(tmp_path: Path) -> None:
    with pytest.raises(FileTooBig, match=r"is not fetched: 4611.* GB of it are to come, and the disk has room for"):
        PartFile(tmp_path, replace(file_of(PLAIN), size=2**62)).__enter__()
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_of_it_needs_no_more_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with PartFile(tmp_path, file_of(PLAIN)) as part:
        part.write(PLAIN[:FILE_CHUNK])
    room = len(PLAIN) - FILE_CHUNK
    for total, free, fits in ((10 * room, room, True), (10 * room, room - 1, False), (0, 0, True)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, total=total, free=free: SimpleNamespace(total=total, free=free))
        with contextlib.nullcontext() if fits else pytest.raises(FileTooBig), PartFile(tmp_path, file_of(PLAIN)) as again:
            assert again.chunks == 1


def test_a_full_disk_keeps_what_has_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with PartFile(tmp_path, file_of(PLAIN)) as part:
        part.write(PLAIN[:FILE_CHUNK])
        until(lambda: part.path.stat().st_size == FILE_CHUNK)

        def full(fd: int, data: bytes) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "write", full)
        with pytest.raises(FileUnwritable, match="No space left on device"):
            complete(part)
        monkeypatch.undo()
    with PartFile(tmp_path, file_of(PLAIN)) as again:
        assert again.chunks == 1
