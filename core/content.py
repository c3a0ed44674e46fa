"""What is inside an envelope once it is open: typed content, and the padding that hides its length."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from core.errors import BadFileName, NotText
from core.limits import (
    BLOB_ID_BYTES,
    BLOB_MAX,
    FILE_KEY_BYTES,
    HASH_BYTES,
    PAD_SMALLEST,
    PAD_STEP,
    VOID_MAX,
)
from core.names import check_file_name

# Bounded, for whoever reads it does work for each number.
_Void = Annotated[tuple[tuple[str, int], ...], Meta(max_length=VOID_MAX)]


class Text(msgspec.Struct, frozen=True, tag_field="type", tag="text", omit_defaults=True):
    """A text message. ``void`` lists (recipient, n) numbers that the sender used and gave up: no gap, nothing to wait for."""

    text: str
    void: _Void = ()


class File(msgspec.Struct, frozen=True, tag_field="type", tag="file", omit_defaults=True):
    """A file that was sent: where its ciphertext is (``blob``), and what opens and verifies it.

    ``size`` is the file's, in bytes; ``hash`` its SHA-256 and ``key`` 32 bytes, used for this file alone. ``void`` as in Text.
    """

    name: str
    size: Annotated[int, Meta(ge=0, le=BLOB_MAX)]
    hash: Annotated[bytes, Meta(min_length=HASH_BYTES, max_length=HASH_BYTES)]
    key: Annotated[bytes, Meta(min_length=FILE_KEY_BYTES, max_length=FILE_KEY_BYTES)]
    blob: Annotated[bytes, Meta(min_length=BLOB_ID_BYTES, max_length=BLOB_ID_BYTES)]
    void: _Void = ()

    def __repr__(self) -> str:
        """Never show the key."""
        return f"File(name={self.name!r}, size={self.size})"


Sendable = Text | File


class _AnyType(msgspec.Struct, frozen=True):
    type: str


_DECODERS: Final[dict[str, msgspec.msgpack.Decoder[Sendable]]] = {
    "text": msgspec.msgpack.Decoder(Text),
    "file": msgspec.msgpack.Decoder(File),
}
_ANY: Final = msgspec.msgpack.Decoder(_AnyType)


class Unknown(msgspec.Struct, frozen=True):
    """Content of a type that this version does not know. It is shown as such, never dropped silently."""

    type: str


Content = Sendable | Unknown


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
        content: Content = _DECODERS[name].decode(data) if name in _DECODERS else Unknown(name[:64])
        if isinstance(content, File):
            check_file_name(content.name)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, BadFileName) as error:
        raise ValueError("not content") from error
    return content


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
