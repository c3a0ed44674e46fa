"""A safety number as a QR code: the page and the terminal draw the same one, whole and with its margin."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import segno

from clients.qr import qr_lines, qr_svg

NUMBER = " ".join(f"{n * 7919 % 100_000:05}" for n in range(12))
QUIET = 4

Grid = list[list[bool]]


def expected() -> Grid:
    """The dark modules of a code with just these digits, with the margin around them."""
    rows = segno.make_qr("".join(NUMBER.split()), error="m").matrix_iter(border=QUIET)
    return [[bool(module) for module in row] for row in rows]


def of_lines(lines: list[str], height: int) -> Grid:
    light = {"█": (True, True), "▀": (True, False), "▄": (False, True), " ": (False, False)}
    return [[not light[one][half] for one in line] for line in lines for half in (0, 1)][:height]


def of_svg(svg: str) -> Grid:
    root = ET.fromstring(svg)
    size = int(root.attrib["viewBox"].split()[2])
    background, drawn = (node for node in root.iter() if node.tag.endswith("path"))
    scale = int(re.findall(r"scale\((\d+)\)", svg)[0])
    side = size // scale
    assert background.attrib == {"fill": "#fff", "d": f"M0 0h{side}v{side}h-{side}z"}
    assert drawn.attrib["stroke"] == "#000"
    grid = [[False] * side for _ in range(side)]
    x, y = 0.0, 0.0
    for command, numbers in re.findall(r"([Mmh])([-\d. ]+)", drawn.attrib["d"]):
        values = [float(one) for one in re.findall(r"-?[\d.]+", numbers)]
        if command == "h":
            for at in range(int(x), int(x + values[0])):
                grid[int(y)][at] = True
            x += values[0]
        else:
            x, y = (values[0], values[1]) if command == "M" else (x + values[0], y + values[1])
    return grid


def test_both_draw_the_digits_with_a_margin() -> None:
    grid = expected()
    assert any(any(row) for row in grid)
    assert not any(any(row) for row in (*grid[:QUIET], *grid[-QUIET:]))
    assert of_lines(qr_lines(NUMBER), len(grid)) == grid
    assert of_svg(qr_svg(NUMBER)) == grid


def test_another_number_is_another_code() -> None:
    assert qr_lines(NUMBER) != qr_lines(NUMBER[::-1])
