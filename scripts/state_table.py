"""Write the client's state table from core.session into docs/PROTOCOL.md; with --check, only say whether it is there."""

from __future__ import annotations

import sys
from pathlib import Path

from core.messages import CaughtUp, Results
from core.states import TRANSITIONS, Connect, Leave, Lost

PAGE = Path(__file__).parent.parent / "docs" / "PROTOCOL.md"
BEGIN = "<!-- states: made by scripts/state_table.py -->\n"
END = "<!-- end of states -->"


def table() -> str:
    """The table as Markdown."""
    rows = ["| state | what may happen, and where it leads |", "| --- | --- |"]
    for state, cells in TRANSITIONS.items():
        said = [f"{_word(kind)} → {following.value}" for kind, following in cells.items()]
        rows.append(f"| {state.value} | {', '.join(said)} |")
    return "\n".join(rows) + "\n"


def _word(kind: type) -> str:
    names: dict[type, str] = {Results: "RESULT", CaughtUp: "CAUGHT-UP"}
    name = names.get(kind, kind.__name__)
    return f"*{name.lower()}*" if kind in (Connect, Leave, Lost) else name.upper()


def with_table(page: str) -> str:
    """The page with the table of today."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table()}{END}{after}"


def main() -> int:
    """Write, or check."""
    page = PAGE.read_text(encoding="utf-8")
    wanted = with_table(page)
    if "--check" in sys.argv[1:]:
        return int(page != wanted)
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
