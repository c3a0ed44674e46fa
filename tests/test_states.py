"""docs/STATES.md and its pictures are what ``make screenshots`` made of the states it knows."""

from __future__ import annotations

import re
from pathlib import Path

from scripts.screenshots.states import STATES, pages

DOCS = Path(__file__).resolve().parent.parent / "docs"


def test_every_state_has_its_sentence_and_its_picture() -> None:
    assert (DOCS / "STATES.md").read_text() == pages()
    assert {path.name for path in (DOCS / "states").iterdir()} == {f"{name}.svg" for name in STATES}


def test_pictures_are_small_text_with_three_views_and_nothing_from_elsewhere() -> None:
    texts = [path.read_text() for path in (DOCS / "states").iterdir()]
    assert sum(map(len, texts)) < 1_600_000
    for text in texts:
        assert len(re.findall('href="data:image/webp;base64,', text)) == 3
        assert len(re.findall("href=", text)) == 3


def test_every_state_is_played_by_a_scene() -> None:
    scenes = "".join(path.read_text() for path in (DOCS.parent / "scripts" / "screenshots").glob("*.py"))
    assert [name for name in STATES if not re.search(rf'shoot\(page, "{name}"', scenes)] == []
