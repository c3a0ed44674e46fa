"""Which files are shown as pictures."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

import pytest
from PIL import Image

from clients.pictures import PICTURE_MAX, PIXELS_MAX, is_modest, is_picture, picture_size, picture_type
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


def real(kind: str, size: tuple[int, int] = (300, 200), **how: object) -> bytes:
    """A picture as programs make them."""
    file = io.BytesIO()
    Image.new("RGB", size, "teal").save(file, kind, **how)
    return file.getvalue()


def pictures() -> Iterator[tuple[str, bytes]]:
    yield "png", real("PNG")
    yield "jpeg", real("JPEG")
    yield "jpeg, progressive", real("JPEG", progressive=True)
    yield "jpeg, with much before it", real("JPEG", comment=b"c" * 60_000, exif=b"Exif\0\0" + bytes(60_000))
    yield "gif", real("GIF")
    yield "gif, with a comment", real("GIF", comment=b"c" * 1000)
    yield "gif, of several", real("GIF", save_all=True, append_images=[Image.new("RGB", (300, 200), "red")])
    yield "webp", real("WEBP")
    yield "webp, lossless", real("WEBP", lossless=True)
    yield "webp, with more", real("WEBP", exif=b"Exif\0\0" + bytes(100))
    yield "webp, of several", real("WEBP", save_all=True, append_images=[Image.new("RGB", (300, 200), "red")])


@pytest.mark.parametrize(("name", "data"), [pytest.param(*one, id=one[0]) for one in pictures()])
def test_a_pictures_size_is_read_from_its_header(name: str, data: bytes) -> None:
    assert picture_type(data) == f"image/{name.partition(',')[0]}"
    assert picture_size(data) == (300, 200)
    assert is_modest(data)


@pytest.mark.parametrize(("name", "data"), [pytest.param(*one, id=one[0]) for one in pictures()])
def test_no_picture_that_breaks_off_stops_who_looks(name: str, data: bytes) -> None:
    for length in range(min(len(data), 200)):
        assert picture_size(data[:length]) in (None, (300, 200))


def png_of(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


def patched(data: bytes, at: int, *, how: str, size: tuple[int, int]) -> bytes:
    return data[:at] + struct.pack(how, *size) + data[at + struct.calcsize(how) :]


def giants() -> Iterator[bytes]:
    yield png_of(22_000, 22_000)
    gif, jpeg, webp = real("GIF"), real("JPEG"), real("WEBP")
    yield patched(gif, 6, how="<HH", size=(60_000, 60_000))
    yield patched(gif, gif.index(b"\x2c\0\0\0\0") + 5, how="<HH", size=(60_000, 60_000))  # the image alone, not its screen
    yield patched(jpeg, jpeg.index(b"\xff\xc0") + 5, how=">HH", size=(60_000, 60_000))
    yield patched(webp, 26, how="<HH", size=(16_383, 16_383))
    yield b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + b"\xff\xff\xff" * 2
    yield b"RIFF\x1e\0\0\0WEBPVP8L\x0a\0\0\0\x2f\xff\xff\xff\x0f"


@pytest.mark.parametrize("data", list(giants()))
def test_a_picture_that_opens_to_something_huge_is_known(data: bytes) -> None:
    assert picture_type(data)
    size = picture_size(data)
    assert size
    assert size[0] * size[1] > PIXELS_MAX
    assert not is_modest(data)


def test_so_many_pixels_and_no_more() -> None:
    assert is_modest(png_of(PIXELS_MAX // 1000, 1000))
    assert not is_modest(png_of(PIXELS_MAX // 1000 + 1, 1000))


@pytest.mark.parametrize(
    "data",
    [
        png_of(0, 10),
        b"\x89PNG\r\n\x1a\n" + bytes(4) + b"iCCP" + bytes(30),
        b"\xff\xd8\xff\xda" + bytes(30),
        b"\xff\xd8\xff" + b"\xe0\0\2\xff" * 1_000_000,
        b"\xff\xd8" + b"\xff" * 100,
        b"\xff\xd8\xff\xe0\0\2" + real("JPEG")[2:].lstrip(b"\xff"),
        b"GIF89a\1\0\1\0\0\0\0\x21\xfe" + b"\1x" * 1_000_000,
        b"GIF89a\1\0\1\0\0\0\0" + b"\x21\xfe\0" * 1_000_000,
        b"GIF89a\1\0\1\0\0\0\0\x3b",
        b"RIFF\x1e\0\0\0WEBPALPH" + bytes(30),
        b"<svg xmlns='http://www.w3.org/2000/svg'>",
        b"",
    ],
    ids=lambda data: repr(data[:16]),
)
def test_what_tells_no_size_is_not_modest(data: bytes) -> None:
    assert picture_size(data) is None
    assert not is_modest(data)
