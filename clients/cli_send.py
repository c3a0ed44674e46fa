"""``send``: a text, files, or both."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clients.cli_completion import complete_peer
from clients.cli_settings import DEFAULT_TIMEOUT, GUEST_PREFIX, Duration, merge, open_client, shared_options
from clients.files import check_file
from clients.progress import ProgressLine
from clients.terminal import NETWORK, OK, PARTIAL, TIMEOUT, Terminal, exit_code_of
from clients.view import content_json, listing, outcome_word
from core import errors
from core.bundle import Suite
from core.content import File, Text
from core.encoding import b64url
from core.envelope import check_content
from core.events import Outcome, Trust
from core.limits import HYBRID_CONTENT_MAX
from core.messages import Mode
from core.names import EVERYONE, check_name, normalise_name

if TYPE_CHECKING:
    from clients.chat import ChatClient


@click.command()
@click.argument("args", nargs=-1, metavar="TO... [TEXT|-]", shell_complete=complete_peer)
@click.option("-f", "--file", "files", type=click.Path(path_type=Path), multiple=True, metavar="FILE",
              help="A file to send; may be given several times.")  # fmt: skip
@click.option("--everyone", is_flag=True, help="Send to everybody who is here, instead of TO.")
@click.option("--suite", type=click.Choice([suite.value for suite in Suite]), default="hybrid", show_default=True,
              help="RSA with AES-256-GCM, or RSA alone in blocks of 190 bytes.")  # fmt: skip
@click.option(
    "--wait",
    type=click.Choice(["stored", "delivered"]),
    default="stored",
    show_default=True,
    help="Until every copy is safe at the broker or with its recipient, or until every recipient has it.",
)
@click.option("--timeout", type=Duration(), default=DEFAULT_TIMEOUT, help="How long to wait for that.  [default: 10s]")
@click.option("--verified-only", is_flag=True, help="Only to users whom this profile has verified.")
@shared_options
@click.pass_context
def send(
    context: click.Context,
    /,
    args: tuple[str, ...],
    files: tuple[Path, ...],
    everyone: bool,
    suite: str,
    wait: str,
    timeout: float,
    verified_only: bool,
    **options: Any,
) -> None:
    """Send TEXT, files or both to one user or several; '-', or no TEXT and no file, reads it from standard input.

    With two or more arguments the last one is the text: pipe to several users with 'send alice bob -', and send them
    nothing but a file with 'send alice bob "" -f FILE'. Succeeds once every copy is on the broker's disk or with its
    recipient. A profile keeps a text that could not be sent in its outbox. A file needs the broker: one that was broken off
    goes on where it was when a profile sends it again. A guest keeps nothing.

    \b
    securechat-cli send alice 'backup done'
    journalctl -u backup -n 20 | securechat-cli send alice bob -
    securechat-cli send alice -f report.pdf
    securechat-cli --as ops send --everyone 'restarting in 5 minutes'
    """
    settings = merge(context, **options)
    terminal = settings.terminal
    to, text = _recipients_and_text(args, everyone=everyone, files=bool(files))
    if text is not None:
        check_content(Text(text), Suite(suite))
    for path in files:
        check_file(path)
    codes = []
    with open_client(settings, Mode.SEND, max(timeout, DEFAULT_TIMEOUT), offline=not (everyone or files)) as client:
        if client.profile is None and client.user.startswith(GUEST_PREFIX):
            terminal.say(f"sending as {client.user}, a guest identity made for this message; --as NAME chooses another")
        new: list[str] = []
        if everyone:
            client.fetch_users(timeout)
            audience = client.audience(verified_only=verified_only)
            new = [peer.user for peer in audience if peer.trust is Trust.NEW]
            if new and client.profile:
                terminal.say(f"new to you: {listing(new)}")
        for what in (*(() if text is None else (text,)), *files):
            content = _uploaded(client, terminal, what) if isinstance(what, Path) else what
            id_ = client.send(content, EVERYONE if everyone else to, suite=Suite(suite), verified_only=verified_only)
            outcomes = client.wait_sent(id_, timeout, stored=wait == "stored")
            late = [name for name, outcome in outcomes.items() if outcome is Outcome.STORED] if wait == "delivered" else []
            code = exit_code_of(outcomes.values())
            if late and code == OK:
                code = TIMEOUT
            if terminal.as_json:
                values = {name: outcome.value for name, outcome in outcomes.items()}
                about = {} if isinstance(content, str) else content_json(content)
                terminal.data("", {
                    "v": 1, "type": "sent", "id": b64url(id_), "from": client.user, "everyone": everyone,
                    "suite": suite, **about, "recipients": values, "new": new, "exit": code,
                })  # fmt: skip
            problem = client.status.error
            _report(terminal, id_, outcomes, problem, kept=client.profile is not None)
            if late:
                terminal.warn(f"not fetched yet by {listing(late)}; it waits at the broker")
            codes.append(NETWORK if code != OK and problem is not None else code)
    failed = [code for code in codes if code != OK]
    sys.exit(OK if not failed else PARTIAL if len(failed) < len(codes) else min(failed))


def _uploaded(client: ChatClient, terminal: Terminal, path: Path) -> File:
    with ProgressLine(terminal, path.name) as progress:
        return client.files.upload(path, progress)


def _report(
    terminal: Terminal, id_: bytes, outcomes: Mapping[str, Outcome], problem: errors.SecureChatError | None, *, kept: bool
) -> None:
    """Tell a person what became of each copy; ``kept`` is whether what was not sent waits in an outbox."""
    for outcome in dict.fromkeys(outcomes.values()):
        names = [name for name, one in outcomes.items() if one is outcome]
        if outcome.safe:
            terminal.say(f"sent to {listing(names)} ({outcome.value}) id={b64url(id_)}")
        elif outcome in (Outcome.CHANGED, Outcome.BLOCKED):
            for name in names:
                error = errors.KeyChanged(user=name) if outcome is Outcome.CHANGED else errors.PeerBlocked(user=name)
                terminal.warn(f"{click.style('not sent:', fg='red')} {error}\nhint: {error.advice}")
        elif outcome is Outcome.UNPROVEN:
            why = "the broker says it was taken, but gave no proof that holds"
            terminal.warn(f"{click.style('unproven', fg='red')} for {listing(names)}: {why}")
        elif outcome.final:
            terminal.warn(f"{click.style('not sent', fg='red')} to {listing(names)}: {outcome_word(outcome)}")
        else:
            slowed = "the broker takes no more from you for now" if outcome is Outcome.RATE else "no answer came in time"
            why = str(problem or slowed).rstrip(".")
            then = "it waits in the outbox, and goes out when this profile next connects" if kept else "nothing was kept"
            terminal.warn(f"{click.style('unanswered', fg='red')} for {listing(names)}: {why}; {then}")
            terminal.warn(f"hint: {'securechat-cli outbox retry' if kept else 'send it again'}")


def _recipients_and_text(args: tuple[str, ...], *, everyone: bool, files: bool) -> tuple[tuple[str, ...], str | None]:
    """To whom, and what; with ``files`` there need not be a text."""
    names = () if everyone else args[:-1] if len(args) > 1 else args
    rest = args[len(names) :]
    if everyone and len(args) > 1:
        raise click.UsageError("With --everyone there is only the text: put it in quotes.")
    if not everyone and not names:
        raise click.UsageError("Say to whom, and what: securechat-cli send alice 'backup done'")
    to = tuple(check_name(normalise_name(name)) for name in names)
    if files and rest in ((), ("",)):
        return to, None
    if rest and rest != ("-",):
        try:
            return to, _decoded(rest[0])
        except UnicodeError:
            raise click.UsageError("TEXT is not text in UTF-8; nothing was sent.") from None
    if not rest and sys.stdin is not None and sys.stdin.isatty():
        raise click.UsageError("There is no text. Put it last, in quotes, or pipe it in: df -h | securechat-cli send ops")
    return to, _standard_input()


def _decoded(argument: str) -> str:
    """What was typed. What the locale cannot decode may be UTF-8 all the same: cron and containers often have no locale."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return os.fsencode(argument).decode("utf-8")
    return argument


def _standard_input() -> str:
    try:
        # One byte more than fits tells "too long" without reading the rest.
        raw = sys.stdin.buffer.read(HYBRID_CONTENT_MAX + 1) if sys.stdin else b""
        text = raw.decode("utf-8", "strict" if len(raw) <= HYBRID_CONTENT_MAX else "ignore")
    except OSError:
        return ""
    except UnicodeDecodeError:
        raise click.UsageError("Standard input is not text in UTF-8; nothing was sent.") from None
    return text.removesuffix("\n")
