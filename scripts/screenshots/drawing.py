"""A picture as text, which is all that the repository holds: an SVG with pictures of few colours in it."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import Final

from PIL import Image

_GAP: Final = 16


def svg(title: str, pictures: Sequence[bytes], *, colours: int, scale: float = 1.0) -> str:
    """PNGs side by side; ``scale`` is how many of their pixels stand for one of the drawing's."""
    parts, left, height = [], 0, 0
    for picture in pictures:
        with Image.open(io.BytesIO(picture)) as image:
            width, tall = round(image.width / scale), round(image.height / scale)
            data = base64.b64encode(_small(image, colours)).decode("ascii")
        place = f'x="{left}" width="{width}" height="{tall}"'
        parts.append(f'<image {place} href="data:image/webp;base64,{data}"/>')
        edge = f'x="{left + 0.5}" y=".5" width="{width - 1}" height="{tall - 1}"'
        parts.append(f'<rect {edge} fill="none" stroke="#8884"/>')
        left, height = left + width + _GAP, max(height, tall)
    size = f'width="{left - _GAP}" height="{height}" viewBox="0 0 {left - _GAP} {height}"'
    inside = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">\n<title>{html.escape(title)}</title>\n{inside}\n</svg>\n'
    )


def _small(image: Image.Image, colours: int) -> bytes:
    # Without dithering: dots would be noise on flat surfaces.
    data = io.BytesIO()
    whole = image.convert("RGB")
    few = whole.quantize(palette=_palette(whole, colours), dither=Image.Dither.NONE)
    few.convert("RGB").save(data, "WEBP", lossless=True, quality=100)
    return data.getvalue()


def _palette(image: Image.Image, colours: int) -> Image.Image:
    """A third are those of surfaces as they are, for there each difference is seen; the others are from all over the picture.

    Warnings are small and rare, and have colours that nothing else has.
    """
    counted = image.getcolors(image.width * image.height) or []
    surfaces = [colour for _, colour in sorted(counted, reverse=True)[: colours // 3] if isinstance(colour, tuple)]
    others = image.quantize(colours - len(surfaces), Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([value for colour in surfaces for value in colour] + others)
    return palette
