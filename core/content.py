"""What is inside an envelope once it is open: typed content, and the padding that hides its length."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from core.errors import NotText
from core.limits import PAD_SMALLEST, PAD_STEP, VOID_MAX


class Text(msgspec.Struct, frozen=True, tag_field="type", tag="text", omit_defaults=True):
    """A text message. ``void`` lists (recipient, n) numbers that the sender used and gave up: no gap, nothing to wait for."""

    text: str
    # Bounded, for whoever reads it does work for each number.
    void: Annotated[tuple[tuple[str, int], ...], Meta(max_length=VOID_MAX)] = ()


class _AnyType(msgspec.Struct, frozen=True):
    type: str


_TEXT: Final = msgspec.msgpack.Decoder(Text)
_ANY: Final = msgspec.msgpack.Decoder(_AnyType)


class Unknown(msgspec.Struct, frozen=True):
    """Content of a type that this version does not know. It is shown as such, never dropped silently."""

    type: str


Content = Text | Unknown


def encode_content(content: Content) -> bytes:
    """Encode content as a msgpack map with a ``type``. Raises NotText for lone surrogates, as undecodable arguments have."""
    try:
        return msgspec.msgpack.encode(content)
    except UnicodeEncodeError:
        raise NotText from None


def decode_content(data: bytes) -> Content:
    """Decode content; raises ValueError if it is not a map with a ``type``, or does not fit its type."""
    try:
        name = _ANY.decode(data).type
        return _TEXT.decode(data) if name == "text" else Unknown(name[:64])
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ValueError("not content") from error


def pad(data: bytes) -> bytes:
    """Append 0x80 and zeros up to 256, 512, 1,024, 2,048 or 4,096 bytes, then up to multiples of 4,096.

    (ISO/IEC 7816-4 padding.) One byte is always added.
    """
    size = PAD_SMALLEST
    while size < PAD_STEP and size < len(data) + 1:
        size *= 2
    if size < len(data) + 1:
        size = -(-(len(data) + 1) // PAD_STEP) * PAD_STEP
    return data + b"\x80" + bytes(size - len(data) - 1)


def unpad(data: bytes) -> bytes:
    """Take the padding off; raises ValueError unless it is exactly what ``pad`` adds."""
    content = data.rstrip(b"\0")[:-1]
    if pad(content) != data:
        raise ValueError("not padded")
    return content
