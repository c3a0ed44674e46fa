"""Options that the commands share: the folder, and quantities as people type them: ``30d``, ``256M``."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import click

_F = TypeVar("_F", bound=Callable[..., Any])
_TIMES: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_SIZES: Final = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}


class Folder(click.Path):
    """A folder's path; never an empty one, as of a variable that is not set, which would be the current folder."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it."""
        if value == "":
            self.fail("it is empty", param, ctx)
        return super().convert(value, param, ctx)


def on_folder(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the broker's folder as its first argument: that of its own ``--data``, else the one named before it."""

    @click.option(
        "--data",
        metavar="FOLDER",
        type=Folder(),
        help="The broker's folder.  [default: that named before COMMAND]",
    )
    @click.pass_obj
    @functools.wraps(command)
    def run(folder: Path, /, data: Path | None, **options: Any) -> None:
        command(data or folder, **options)

    return run


class Quantity(click.ParamType):  # type: ignore[type-arg]  # generic only in later versions
    """A whole number with a unit, from ``least`` to ``most`` as people would type them; its value is in the smallest unit."""

    def __init__(self, name: str, units: Mapping[str, int], least: str, most: str, why: str = "") -> None:
        self.name = name
        self._units = units
        self._least, self._most = least, most
        self._why = why

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: D102 - click's
        read = self._read(str(value))
        if read is None:
            units = ", ".join(unit for unit in self._units if unit)
            self.fail(f"'{value}' is not a whole number with a unit ({units}), like {self._most}.", param, ctx)
        least, most = self._read(self._least) or 0, self._read(self._most) or 0
        if not least <= read <= most:
            self.fail(f"It must be from {self._least} to {self._most}{self._why}.", param, ctx)
        return read

    def _read(self, text: str) -> int | None:
        match = re.fullmatch(r"([0-9]{1,12})([A-Za-z]?)", text)
        if match is None:
            return None
        number, unit = match.groups()
        factor = self._units.get(unit) or self._units.get(unit.upper()) or self._units.get(unit.lower())
        return int(number) * factor if factor else None


def duration(least: str, most: str, why: str = "") -> Quantity:
    """Seconds, from a number with s, m, h or d."""
    return Quantity("duration", _TIMES, least, most, why)


def size_option(flag: str, default: str, least: str, most: str, what: str) -> Callable[[_F], _F]:
    """An option in bytes, from a number with K, M, G (powers of 1,024) or nothing."""
    return click.option(
        flag,
        type=Quantity("size", _SIZES, least, most),
        default=default,
        show_default=True,
        help=f"{what}: a number with K, M or G.",
    )
