"""``make screenshots``: pictures of the page for the README and docs/STATES.md; ``--only SCENE`` makes some of them anew.

With ``--png FOLDER`` they are written there, as they are, and nothing in docs is touched. It needs a Chromium.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from core.errors import SecureChatError
from scripts.processes import ROOT, Failed, Stopped
from scripts.screenshots import doors, readme, sending, talking, trusting
from scripts.screenshots.drawing import svg
from scripts.screenshots.states import STATES, pages
from scripts.screenshots.studio import Studio

SCENES: Final[Mapping[str, Callable[[Studio], None]]] = {
    "first-run": doors.first_run,
    "taken": doors.taken,
    "readme": readme.talk,
    "together": talking.alone_and_together,
    "wrong": talking.what_is_wrong,
    "invited": doors.invited,
    "locked": doors.locked,
    "one-to-one": talking.one_to_one,
    "long-ago": talking.long_ago,
    "trust": trusting.decisions,
    "files": sending.files,
}
_FIRST: Final = ("first-run", "locked")  # without these there is no broker, and no profile; then alice is no guest's name
_COLOURS: Final = 36
_VIEWS: Final = ("light", "dark", "phone")


def main() -> int:
    """Take the pictures; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m scripts.screenshots", description=__doc__)
    parser.add_argument("--only", action="append", choices=list(SCENES), help="this scene; may be given again")
    parser.add_argument("--png", type=Path, metavar="FOLDER", help="write PNGs there instead")
    options = parser.parse_args()
    wanted = [name for name in SCENES if not options.only or name in (*options.only, *_FIRST)]
    try:
        with Studio() as studio:
            for name in wanted:
                SCENES[name](studio)
                if options.png:
                    _write_png(studio.shots, options.png)
            if not options.only and (missing := set(STATES) - set(studio.shots)):
                raise Failed(f"No picture was taken of {', '.join(sorted(missing))}.")
            if not options.png:
                _write_svg(studio.shots)
    except Stopped:
        return 130
    except (Failed, SecureChatError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _write_png(shots: Mapping[str, list[bytes]], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, pictures in shots.items():
        for view, picture in zip(_VIEWS, pictures, strict=False):
            (folder / f"{name}-{view}.png").write_bytes(picture)


def _write_svg(shots: Mapping[str, list[bytes]]) -> None:
    folder = ROOT / "docs" / "states"
    folder.mkdir(exist_ok=True)
    for name, pictures in shots.items():
        if name == readme.NAME:
            readme.write_picture(pictures[0])
        else:
            (folder / f"{name}.svg").write_text(svg(STATES[name][0], pictures, colours=_COLOURS))
    (ROOT / "docs" / "STATES.md").write_text(pages())
    sizes = [path.stat().st_size for path in folder.glob("*.svg")]
    print(f"docs/states: {len(sizes)} pictures, {sum(sizes):,} bytes, the largest {max(sizes):,}")


if __name__ == "__main__":
    sys.exit(main())
