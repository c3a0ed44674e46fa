"""What stands behind options: times, paths, and what must not be empty."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import click

_DURATION: Final = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)(?P<unit>ms|s|m|h)?\Z")
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}
_LONGEST: Final = 366 * 24 * 3600.0  # what waits for longer than some decades would overflow


class Duration(click.ParamType[float]):
    """A time such as 10s, 500ms or 2m, in seconds; a plain number is seconds."""

    name = "duration"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:  # noqa: ARG002 - click's
        """How it is written."""
        return "500ms|10s|2m|1h"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it."""
        if isinstance(value, float):
            return value
        match = _DURATION.match(str(value))
        if not match or float(match["number"]) * _UNITS[match["unit"]] > _LONGEST:
            self.fail(f"'{value}' is not a time; write it like 10s, 500ms or 2m.", param, ctx)
        return float(match["number"]) * _UNITS[match["unit"]]


class Count(click.ParamType[int]):
    """How many: from 1 to ``most``, a number that nobody types; so it is not in the help."""

    name = "count"

    def __init__(self, most: int) -> None:
        self._range = click.IntRange(1, most)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it."""
        return self._range.convert(value, param, ctx)


class Place(click.Path):
    """A path; never an empty one, which would be the current folder."""

    def __init__(self, *, file_okay: bool = True) -> None:
        super().__init__(path_type=Path, file_okay=file_okay)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it."""
        if value == "":
            self.fail("it is empty", param, ctx)
        return super().convert(value, param, ctx)


def not_empty(_: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Refuse an empty value, as of a variable that is not set: what is meant is not that nothing was said."""
    if value == "":
        raise click.BadParameter("it is empty", param=param)
    return value
