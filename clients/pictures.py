"""Which files are pictures that a browser may show. Nothing here, nor anywhere in this program, decodes one."""

from __future__ import annotations

import struct
from typing import Final

from core.content import File

PICTURE_MAX: Final = 10 * 1024 * 1024
PIXELS_MAX: Final = 40_000_000  # a browser takes four bytes for each, however few they took in the file
_BLOCKS_MAX: Final = 4096  # that may stand before what tells a picture's size: looking for it must not take long either
# No SVG: it is a document, which may hold scripts and ask other hosts for something.
_ENDS: Final = (".png", ".jpg", ".jpeg", ".gif", ".webp")


def is_picture(file: File) -> bool:
    """Whether a file says of itself that it is a picture to be shown without being asked for."""
    return 0 < file.size <= PICTURE_MAX and file.name.lower().endswith(_ENDS)


def picture_type(data: bytes) -> str | None:
    """The MIME type of what begins as a picture does, whatever its name says; None for anything else."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "image/webp"
    return None


def is_modest(data: bytes) -> bool:
    """Whether what begins as a picture does says of itself that it has no more pixels than a browser opens at ease."""
    size = picture_size(data)
    return size is not None and size[0] * size[1] <= PIXELS_MAX


def picture_size(data: bytes) -> tuple[int, int] | None:
    """The width and the height that a picture's header tells; None where it tells none that could be read."""
    try:
        match picture_type(data):
            case "image/png":
                width, height = _png(data)
            case "image/jpeg":
                width, height = _jpeg(data)
            case "image/gif":
                width, height = _gif(data)
            case "image/webp":
                width, height = _webp(data)
            case _:
                return None
    except (struct.error, IndexError, ValueError):
        return None
    return (width, height) if width and height else None


def _png(data: bytes) -> tuple[int, int]:
    length, name, width, height = struct.unpack_from(">I4sII", data, 8)
    if (length, name) != (13, b"IHDR"):
        raise ValueError
    return width, height


def _jpeg(data: bytes) -> tuple[int, int]:
    at = 2
    for _ in range(_BLOCKS_MAX):
        if data[at] != 0xFF:
            break
        while data[at] == 0xFF:
            at += 1
        marker = data[at]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a frame, of whatever kind
            height, width = struct.unpack_from(">HH", data, at + 4)
            return width, height
        if marker < 0xC0 or 0xD0 <= marker <= 0xDA:  # none of what may stand before a frame
            break
        at += 1 + int(struct.unpack_from(">H", data, at + 1)[0])
    raise ValueError


def _gif(data: bytes) -> tuple[int, int]:
    """The screen, or the first image in it where that is larger: then browsers make the screen so large."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    inside = False  # an extension, which is a row of blocks up to an empty one
    for _ in range(_BLOCKS_MAX):
        first = data[at]
        if inside:
            at, inside = at + 1 + first, first > 0
        elif first == 0x21:
            at, inside = at + 2, True
        elif first == 0x2C:
            left, top, wide, high = struct.unpack_from("<HHHH", data, at + 1)
            return max(width, left + wide), max(height, top + high)
        else:
            break
    raise ValueError


def _webp(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        low, high = struct.unpack_from("<IH", data, 24)
        return 1 + (low & 0xFFFFFF), 1 + (low >> 24 | high << 8)
    if kind == b"VP8L" and data[20] == 0x2F:
        (bits,) = struct.unpack_from("<I", data, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise ValueError
