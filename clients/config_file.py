"""``config.toml``: what people do not want to say each time. Flags and the environment's settings go before it."""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import platformdirs

from core.address import BrokerAddress
from core.errors import BadAddress, BadName, ConfigBroken
from core.names import check_name, normalise_name
from core.places import APP

_PROFILE: Final = "SECURECHAT_PROFILE"
_AS: Final = "SECURECHAT_AS"
PASSPHRASE_FILE: Final = "SECURECHAT_PASSPHRASE_FILE"  # noqa: S105 - where it is, not what


def config_path() -> Path:
    """Where the file is looked for."""
    return Path(platformdirs.user_config_dir(APP)) / "config.toml"


def with_config(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment's settings and, where it has none, the file's under the same names.

    Raises ConfigBroken for a file that is not understood: to pass over a setting could be to write to the wrong people.
    """
    said = {name: value for name, value in environ.items() if value}
    file = read_config(config_path())
    if _PROFILE in said or _AS in said:  # who one is, is one setting
        file.pop(_PROFILE, None)
        file.pop(_AS, None)
    return {**file, **said}


def read_config(path: Path) -> dict[str, str]:
    """The settings in a file, under the names of their environment variables; none if it is not there."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would keep us waiting for its writer
            raise ConfigBroken(path=path, why="it is not a regular file", advice="Mend that, or move it away.")
        text = path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ConfigBroken(path=path, why=error.strerror, advice="Mend that, or move it away.") from error
    except UnicodeDecodeError:
        raise ConfigBroken(path=path, why="it is not text in UTF-8", advice="Write it anew, or move it away.") from None
    import tomllib

    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigBroken(
            path=path, why=f"it is not TOML: {error}", advice="A setting looks like: profile = 'alice'"
        ) from None
    except RecursionError:
        raise ConfigBroken(path=path, why="it is nested too deeply", advice="A setting looks like: profile = 'alice'") from None
    found = {}
    for key, value in values.items():
        if key not in _KEYS:
            raise ConfigBroken(path=path, why=f"it has the unknown key '{key}'", advice=f"There are: {', '.join(_KEYS)}.")
        if not isinstance(value, str) or not value:
            what = "empty" if value == "" else "not a text"
            raise ConfigBroken(path=path, why=f"the value of '{key}' is {what}", advice=f"Write it as: {key} = '...'")
        variable, check = _KEYS[key]
        try:
            found[variable] = check(value)
        except (ValueError, BadAddress, BadName) as error:
            raise ConfigBroken(path=path, why=f"'{key}': {str(error).rstrip('.')}", advice="Mend that line.") from None
    if _PROFILE in found and _AS in found:
        raise ConfigBroken(path=path, why="it has both 'profile' and 'as'", advice="'as' is for a guest; keep one of them.")
    return found


def _address(text: str) -> str:
    if BrokerAddress.parse(text).invite is not None:
        raise ValueError("it holds an invite, which is a secret: give that to 'securechat-cli init NAME --invite -'")
    return text


def _name(text: str) -> str:
    return check_name(normalise_name(text))


def _path(text: str) -> str:
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        raise ValueError("nobody knows where ~ is") from None
    if not path.is_absolute():
        raise ValueError("it must begin with / or ~")
    return str(path)


_KEYS: Final[dict[str, tuple[str, Callable[[str], str]]]] = {
    "broker": ("SECURECHAT_BROKER", _address),
    "profile": (_PROFILE, _name),
    "as": (_AS, _name),
    "home": ("SECURECHAT_HOME", _path),
    "passphrase_file": (PASSPHRASE_FILE, _path),
}
