"""Which files are shown as pictures."""

from __future__ import annotations

import pytest

from clients.pictures import PICTURE_MAX, is_picture, picture_type
from core.content import File


def named(name: str, size: int = 1000) -> File:
    return File(name, size, bytes(32), bytes(32), bytes(16))


@pytest.mark.parametrize("name", ["a.png", "A.PNG", "b.jpg", "c.JPeG", "d.gif", "e.webp", "two.dots.png"])
def test_what_says_that_it_is_a_picture(name: str) -> None:
    assert is_picture(named(name))
    assert is_picture(named(name, PICTURE_MAX))
    assert not is_picture(named(name, PICTURE_MAX + 1))
    assert not is_picture(named(name, 0))


@pytest.mark.parametrize("name", ["a.svg", "a.png.exe", "png", "a.html", "a.bmp", "a.png.svg", "a.avif"])
def test_what_does_not(name: str) -> None:
    assert not is_picture(named(name))


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n....", "image/png"),
        (b"\xff\xd8\xff\xe0....", "image/jpeg"),
        (b"GIF89a....", "image/gif"),
        (b"GIF87a....", "image/gif"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "image/webp"),
        (b"RIFF\x10\0\0\0WAVEfmt ", None),
        (b"<svg xmlns='http://www.w3.org/2000/svg'>", None),
        (b"<?xml version='1.0'?>", None),
        (b"<html>", None),
        (b"\x89PNG", None),
        (b"", None),
    ],
)
def test_the_type_is_what_the_bytes_say(data: bytes, kind: str | None) -> None:
    assert picture_type(data) == kind
