"""Making a file that is there whole or not at all, closed to others, and never in place of another."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from clients.folders import sync_folder
from core.errors import AlreadyThere, NotWritten


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Write to a draft of mode 0600 beside ``path``, which gets that name at the end if nothing has gone wrong.

    The draft's name cannot be foretold, and what lies there is not opened: others may write to the same folder.

    Raises AlreadyThere, and NotWritten where the folder or the disk does not allow it.
    """
    if os.path.lexists(path):
        raise AlreadyThere(path=path)
    try:
        handle, name = tempfile.mkstemp(prefix=".securechat-", dir=path.parent)
        draft = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(handle)
            _take_name(draft, path)
        finally:
            draft.unlink(missing_ok=True)
    except FileExistsError:
        raise AlreadyThere(path=path) from None
    except OSError as error:
        raise NotWritten(path=path, why=error.strerror or str(error)) from error


def _take_name(draft: Path, path: Path) -> None:
    try:
        os.link(draft, path, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:  # the file systems of most memory sticks have no links: hold the name with an empty file
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        draft.replace(path)
    sync_folder(path.parent)
