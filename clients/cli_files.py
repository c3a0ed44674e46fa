"""``download``, and what ``listen`` does with files."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clients.cli_completion import complete_peer
from clients.cli_settings import DEFAULT_TIMEOUT, TakesIds, merge, open_client, shared_options
from clients.cli_values import Place
from clients.exits import CONNECTING
from clients.progress import ProgressLine
from clients.terminal import Terminal
from clients.view import clean, listing
from core import errors
from core.content import File
from core.encoding import b64url
from core.events import Message, MessageReceived, MessageSent
from core.messages import Mode
from core.names import normalise_name

if TYPE_CHECKING:
    from clients.chat import ChatClient
    from clients.profiles import OpenProfile


@click.command(cls=TakesIds, exits=CONNECTING)
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--to", "folder", type=Place(file_okay=False), default=Path(), metavar="DIR",
              help="Where to save them; the current folder unless told otherwise.")  # fmt: skip
@click.option("--from", "sender", metavar="USER", shell_complete=complete_peer, help="Only what this user sent.")
@shared_options
@click.pass_context
def download(context: click.Context, /, ids: tuple[str, ...], folder: Path, sender: str | None, **options: Any) -> None:
    """Fetch the files that came with the messages ID, as 'history --json' and 'listen --json' name them.

    A download that was broken off goes on where it was. Nothing is overwritten.

    \b
    securechat-cli download 4Nq0mZ3zX0yT1b2c3d4e5f
    securechat-cli download 4Nq0mZ3zX0yT1b2c3d4e5f --to inbox
    """
    settings = merge(context, **options)
    whom = normalise_name(sender) if sender else None
    with open_client(settings, Mode.SEND, DEFAULT_TIMEOUT) as client:
        if client.profile is None:
            raise click.UsageError("A guest has no history to look in: use 'listen --download DIR'.")
        found = _files(client.profile, whom)
        for one in ids:
            _check_one(one, found.get(one, {}))
        for one in ids:
            (file,) = found[one].values()
            path = _fetch(client, settings.terminal, file, folder)
            settings.terminal.data(str(path), {"v": 1, "type": "saved", "id": one, **saved_json(path)})


def _check_one(id_: str, files: Mapping[str, File]) -> None:
    if not files:
        raise click.UsageError(f"No message with the id {id_} that brought a file is in the history.")
    if len(files) > 1:  # whoever gets a message knows its id, and can give it to one of their own
        raise click.UsageError(f"{listing(list(files))} have each sent a file with the id {id_}: say whose, with --from USER.")


def _files(profile: OpenProfile, sender: str | None) -> dict[str, dict[str, File]]:
    """The files in the history by id, and by who sent them; only those of ``sender``, if that is somebody."""
    files: dict[str, dict[str, File]] = {}
    for entry in profile.store.history.after(0):
        match entry.event:
            case MessageReceived(message) if isinstance(message.content, File):
                id_, user, file = message.id, message.sender, message.content
            case MessageSent(id_, _, _, _, content, _) if isinstance(content, File):
                user, file = profile.user, content
            case _:
                continue
        if sender in (None, user):
            files.setdefault(b64url(id_), {})[user] = file
    return files


def save(client: ChatClient, terminal: Terminal, message: Message, folder: Path | None, *, insist: bool = False) -> Path | None:
    """Fetch what came with a message, if that is to be; what keeps it from being fetched is told.

    With ``insist`` what may be over at another try is raised instead: BrokerUnreachable and FileUnwritable. What the disk
    cannot hold, or the broker does not have, would keep whoever insists from ever going on.
    """
    content = message.content
    if folder is None or not isinstance(content, File):
        return None
    try:
        return _fetch(client, terminal, content, folder)
    except (errors.FileFailed, errors.BrokerUnreachable) as error:
        if insist and isinstance(error, (errors.BrokerUnreachable, errors.FileUnwritable)):
            raise
        terminal.warn(f"{click.style('not saved:', fg='red')} {clean(str(error))}")
        if error.advice:
            terminal.warn(f"hint: {clean(error.advice)}")
        if client.profile and not isinstance(error, errors.FileGone):
            terminal.warn(f"hint: fetch it later with: securechat-cli download {b64url(message.id)}")
        return None


def check_folder(folder: Path) -> None:
    """Make the folder that files are to be saved in; raises NotWritten where none can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise errors.NotWritten(path=folder, why=error.strerror) from error


def _fetch(client: ChatClient, terminal: Terminal, file: File, folder: Path) -> Path:
    with ProgressLine(terminal, clean(file.name)) as progress:
        return client.files.download(file, folder, progress)


def saved_json(path: Path | None) -> dict[str, object]:
    """Where a file is now, in the form of ``--json``."""
    return {"saved": str(path.absolute())} if path else {}
