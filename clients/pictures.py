"""Which files are pictures that a browser may show. Nothing here, nor anywhere in this program, decodes one."""

from __future__ import annotations

from typing import Final

from core.content import File

PICTURE_MAX: Final = 10 * 1024 * 1024
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
