"""A safety number as a QR code, for the page and for terminals. It holds the 60 digits and nothing else."""

from __future__ import annotations

import io

import segno

_QUIET = 4  # modules of light around it: the least that a reader may ask for


def _code(number: str) -> segno.QRCode:
    return segno.make_qr(number.replace(" ", ""), error="m")


def qr_svg(number: str) -> str:
    """An SVG, black on white with its white margin, so that a reader finds it on any background."""
    out = io.BytesIO()
    _code(number).save(
        out, kind="svg", scale=4, border=_QUIET, dark="#000", light="#fff", xmldecl=False, omitsize=True, title="Safety number"
    )
    return out.getvalue().decode("ascii")


def qr_lines(number: str) -> list[str]:
    """Lines of half blocks, two modules high each; what is light is drawn, so it fits light characters on a dark ground."""
    out = io.StringIO()
    _code(number).terminal(out, border=_QUIET, compact=True)
    return out.getvalue().splitlines()
