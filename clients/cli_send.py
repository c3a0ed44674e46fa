"""``send``: a text, files, or both; or how a command ended."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from clients.cli_completion import complete_peer
from clients.cli_help import Command
from clients.cli_settings import (
    DEFAULT_TIMEOUT,
    Settings,
    broker_for,
    connected,
    is_nameless,
    merge,
    open_client,
    open_identity,
    shared_options,
)
from clients.cli_values import Duration, Place
from clients.exits import NETWORK, OK, TIMEOUT, WORDS, exit_code_of, overall, without_guests_who_left
from clients.files import check_file
from clients.progress import ProgressLine
from clients.terminal import Terminal
from clients.view import clean, content_json, listing, outcome_word
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
    from clients.others import Others

_RAN: Final = "clients.cli_send.ran"


class _Send(Command):
    """``--run`` takes what stands behind ``--``: without it, that would be taken for names."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        before, ran = args, None
        if "--" in args and "--run" in args[: args.index("--")]:
            at = args.index("--")
            before, ran = args[:at], tuple(args[at + 1 :])
        ctx.meta[_RAN] = ran
        try:
            return super().parse_args(ctx, before)
        except click.NoSuchOption as error:
            hint = f"If it is the text, put '--' before it: securechat-cli send alice -- '{error.option_name}…'"
            raise click.UsageError(f"{error.format_message()} {hint}", ctx) from None


@click.command(cls=_Send, exits=WORDS.keys() - {OK}, words={OK: WORDS[OK]})
@click.argument("args", nargs=-1, metavar="TO... [TEXT|-]", shell_complete=complete_peer)
@click.option("-f", "--file", "files", type=Place(), multiple=True, metavar="FILE",
              help="A file to send; may be given several times.")  # fmt: skip
@click.option("--run", is_flag=True, help="Run the command behind '--', and send how it ended and what it printed last.")
@click.option("--everyone", is_flag=True,
              help="Send to everybody who is here, and from a profile to each that it has met, too.")  # fmt: skip
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
    run: bool,
    everyone: bool,
    suite: str,
    wait: str,
    timeout: float,
    verified_only: bool,
    **options: Any,
) -> None:
    """Send TEXT, files or both to one user or several; '-', or no TEXT and no file, reads it from standard input.

    With two or more arguments the last one is the text: pipe to several users with 'send alice bob -', and send them
    nothing but a file with 'send alice bob "" -f FILE'. Other users of this machine can read TEXT among the arguments of
    processes, but not what comes by standard input.

    Succeeds once every copy is on the broker's disk or with its recipient. Of everyone, guests who have left meanwhile do not
    count; whom this profile has met, and the broker does not know any more, does until 'block' leaves them out. A profile
    keeps a text that could not be sent in its outbox. Files need the broker, and nothing is sent, a text with them neither,
    before all are uploaded; where that was broken off, a profile goes on with it when the same command is given again. A guest
    keeps nothing.

    With --run, CMD's output is passed on as it comes (with --json, all of it to standard error), and its last lines, its
    command line and how long it took are sent when it has ended. The exit code is then CMD's (128 and the number of a signal
    that ended it, 127 if there is no such command, 126 if it cannot be run); if that is 0, sending's.

    CMD is not run where nothing could be sent as things stand: a name is taken, a profile knows no broker or another than
    this one, everybody in TO is blocked or has a changed key, or somebody is not verified with --verified-only. A broker that
    is out of reach is no such case: a profile's outbox keeps what TO is to be sent. With --everyone there is nobody to keep
    it for, so it is lost if the broker is not in reach when CMD has ended.

    \b
    securechat-cli send alice 'backup done'
    journalctl -u backup -n 20 | securechat-cli send alice bob -
    securechat-cli send alice -f report.pdf
    securechat-cli --as ops send --everyone 'restarting in 5 minutes'
    securechat-cli send alice --run -- make backup
    """
    settings = merge(context, **options)
    how = _How(everyone, Suite(suite), wait == "delivered", timeout, verified_only)
    if run:
        to = _recipients(args, context.meta[_RAN], everyone=everyone, files=bool(files))
        _run(settings, how, to, context.meta[_RAN])
    to, text = _recipients_and_text(args, everyone=everyone, files=bool(files))
    if text is not None:
        check_content(Text(text), how.suite)
    for path in files:
        check_file(path)
    # What was not uploaded cannot wait, and nor can what is for whoever is here now.
    try:
        with open_client(settings, Mode.SEND, max(timeout, DEFAULT_TIMEOUT), offline=not (everyone or files)) as client:
            sys.exit(_send(client, settings.terminal, how, to, (*(() if text is None else (text,)), *files)))
    except errors.BrokerUnreachable as error:
        of_no_use = isinstance(error, errors.BrokerKeyMismatch | errors.BrokerKeyChanged)
        then = "" if of_no_use else ": give the same command again"
        settings.terminal.warn(f"nothing was sent, nor will be later{then}")
        raise


@dataclass(frozen=True, slots=True)
class _How:
    """How to send; ``delivered`` is what to wait for, ``timeout`` for how long."""

    everyone: bool
    suite: Suite
    delivered: bool
    timeout: float
    verified_only: bool


def _run(settings: Settings, how: _How, to: tuple[str, ...], command: tuple[str, ...]) -> NoReturn:
    """Run a command, and send how it ended. No connection is held meanwhile: it could be lost, and looks like presence."""
    from clients.programs import run

    terminal = settings.terminal
    patience = max(how.timeout, DEFAULT_TIMEOUT)
    with open_identity(settings) as who:
        if isinstance(who, str):  # it has no outbox, so better hear now of what will not be better then
            if how.verified_only:  # its memory is as short as the connection
                raise errors.NobodyVerified if how.everyone else errors.NotVerified(user=to[0])
            try:
                with connected(settings, who, Mode.SEND, patience):
                    pass
            except errors.BrokerKeyMismatch:
                raise
            except errors.BrokerUnreachable as error:
                terminal.warn(
                    f"{click.style('not connected:', fg='red')} {error} It is tried again when the command has ended."
                )
        else:
            who.check_broker(broker_for(settings, fallback=who.broker))
            who.others.check_for_sending(to, verified_only=how.verified_only)
        ended = run(command, stdout=2 if terminal.as_json else 1)
        terminal.say(f"{clean(ended.title)}: {ended.how}")
        try:
            with connected(settings, who, Mode.SEND, patience, offline=not how.everyone) as client:
                code = _send(client, terminal, how, to, (ended.text,), ran=ended.code)
        except errors.SecureChatError as error:
            if ended.code == OK:
                raise
            terminal.tell_error(error, ended.code)
            code = ended.code
    sys.exit(ended.code or code)


def _send(
    client: ChatClient, terminal: Terminal, how: _How, to: tuple[str, ...], contents: Sequence[str | Path], *, ran: int = OK
) -> int:
    """Send each, and tell what became of it; returns the exit code. ``ran`` is that of the command that was run."""
    if is_nameless(client):
        terminal.say(f"sending as {client.user}, a guest identity made for this message; --as NAME chooses another")
    new: list[str] = []
    if how.everyone:
        client.fetch_users(how.timeout)
        new = [peer.user for peer in client.audience(verified_only=how.verified_only) if peer.trust is Trust.NEW]
        if new and client.profile:
            terminal.say(f"new to you: {listing(new)}")
    if any(isinstance(one, Path) for one in contents):  # what would keep them from being sent is better known before
        _check_recipients(client, how, to)
    gone: set[str] = set()
    codes = [_send_one(client, terminal, how, to, one, new, ran, gone) for one in _uploaded(client, terminal, contents)]
    if client.profile:
        hint_at_block(terminal, gone)
    return overall(codes)


def _check_recipients(client: ChatClient, how: _How, to: tuple[str, ...]) -> None:
    if client.others:
        client.others.check_for_sending(to, verified_only=how.verified_only)
    if how.everyone and not client.audience(verified_only=how.verified_only):
        raise errors.NobodyVerified if client.audience() else errors.NobodyHere


def _send_one(
    client: ChatClient,
    terminal: Terminal,
    how: _How,
    to: tuple[str, ...],
    content: str | File,
    new: list[str],
    ran: int,
    gone: set[str],
) -> int:
    if to and client.others and not client.status.online:  # it would wait for nothing
        client.others.check_for_sending(to, verified_only=how.verified_only)
    guests = guests_among(client.others, [peer.user for peer in client.audience()] if how.everyone else ())
    id_ = client.send(content, EVERYONE if how.everyone else to, suite=how.suite, verified_only=how.verified_only)
    if client.profile and not (status := client.status).online:
        why = status.error or f"The broker at {client.broker.where} does not answer."
        terminal.say(f"{why} Trying for {how.timeout:g} s; the message is in the outbox meanwhile.")
    outcomes = client.wait_sent(id_, how.timeout, stored=not how.delivered)
    late = [name for name, outcome in outcomes.items() if outcome is Outcome.STORED] if how.delivered else []
    if how.everyone:
        gone.update(name for name, one in outcomes.items() if one is Outcome.ABSENT and name not in guests)
    code = exit_code_of(without_guests_who_left(outcomes, guests).values())
    problem = client.status.error
    if code == TIMEOUT and problem is not None:  # that is why no answer came in time
        code = NETWORK
    if late and code == OK:
        code = TIMEOUT
    if terminal.as_json:
        values = {name: outcome.value for name, outcome in outcomes.items()}
        about = {} if isinstance(content, str) else content_json(content)
        terminal.data("", {
            "v": 1, "type": "sent", "id": b64url(id_), "from": client.user, "everyone": how.everyone,
            "suite": how.suite.value, **about, "recipients": values, "new": new, "exit": ran or code,
        })  # fmt: skip
    name = "" if isinstance(content, str) else content.name
    report(terminal, id_, outcomes, problem, kept=client.profile is not None, name=name)
    _suggest(client, terminal, [name for name, one in outcomes.items() if one is Outcome.ABSENT])
    if late:
        terminal.warn(f"not fetched yet by {listing(late)}; it waits at the broker")
    return code


def guests_among(others: Others | None, names: Iterable[str]) -> frozenset[str]:
    """Those of everyone who are missed by nobody if they have left meanwhile.

    That anybody is not here is only the broker's word; a profile, or whoever was verified, is not given up on that.
    """
    return frozenset(name for name in names if others and others.is_guest(name))


def hint_at_block(terminal: Terminal, gone: Collection[str]) -> None:
    """Say how everyone is to be without those whom the broker does not know any more."""
    if gone:
        name = min(gone) if len(gone) == 1 else "NAME"
        terminal.warn(f"hint: who is gone for good is left out of everyone by: securechat-cli block {name}")


def _uploaded(client: ChatClient, terminal: Terminal, contents: Sequence[str | Path]) -> list[str | File]:
    """The contents, files as what to send of them: all uploaded before any is sent, so that to try again doubles nothing."""
    try:
        return [_upload(client, terminal, one) if isinstance(one, Path) else one for one in contents]
    except (KeyboardInterrupt, SystemExit):
        then = "; the same command goes on where the upload was" if client.profile else ""
        terminal.warn(f"broken off: nothing was sent{then}")
        raise


def _upload(client: ChatClient, terminal: Terminal, path: Path) -> File:
    with ProgressLine(terminal, path.name) as progress:
        return client.files.upload(path, progress)


def report(
    terminal: Terminal,
    id_: bytes,
    outcomes: Mapping[str, Outcome],
    problem: errors.SecureChatError | None,
    *,
    kept: bool,
    name: str = "",
) -> None:
    """Tell a person what became of each copy; ``kept`` is whether what was not sent waits in an outbox, ``name`` a file's."""
    for outcome in dict.fromkeys(outcomes.values()):
        names = [user for user, one in outcomes.items() if one is outcome]
        if outcome.safe:
            terminal.say(f"sent to {listing(names)} ({outcome.value}) id={b64url(id_)} {clean(name)}".rstrip())
        elif outcome in (Outcome.CHANGED, Outcome.BLOCKED):
            for user in names:
                error = errors.KeyChanged(user=user) if outcome is Outcome.CHANGED else errors.PeerBlocked(user=user)
                terminal.warn(f"{click.style('not sent:', fg='red')} {error}\nhint: {error.advice}")
        elif outcome is Outcome.UNPROVEN:
            why = "the broker says it was taken, but gave no proof that holds"
            terminal.warn(f"{click.style('unproven', fg='red')} for {listing(names)}: {why}")
        elif outcome.final:
            terminal.warn(f"{click.style('not sent', fg='red')} to {listing(names)}: {outcome_word(outcome)}")
            if outcome is Outcome.ABSENT:
                terminal.warn(f"hint: {errors.UserAbsent.hint} A guest can be written to only while connected.")
                if len(outcomes) > 1:
                    terminal.warn("hint: one text of several words is put in quotes: securechat-cli send alice 'hi there'")
        else:
            slowed = "the broker takes no more from you for now" if outcome is Outcome.RATE else "no answer came in time"
            why = str(problem or slowed).rstrip(".")
            then = "it waits in the outbox, and goes out when this profile next connects" if kept else "nothing was kept"
            word = "queued" if kept and outcome is Outcome.QUEUED else "unanswered"
            terminal.warn(f"{click.style(word, fg='red')} for {listing(names)}: {why}; {then}")
            terminal.warn(f"hint: {'securechat-cli outbox retry' if kept else 'send it again'}")


def _suggest(client: ChatClient, terminal: Terminal, absent: Sequence[str]) -> None:
    """Whom somebody may have meant who is not there: of the peers that the profile has met."""
    met = [pin.user for pin in client.profile.store.pins()] if client.profile else []
    for name in absent:
        if name not in met and (close := difflib.get_close_matches(name, met, n=1)):
            terminal.warn(f"hint: did you mean {close[0]}?")


def _recipients(args: tuple[str, ...], command: tuple[str, ...] | None, *, everyone: bool, files: bool) -> tuple[str, ...]:
    """To whom to send how ``command`` ended."""
    if not command:
        raise click.UsageError("Put the command behind '--': securechat-cli send alice --run -- make backup")
    if files:
        raise click.UsageError("--run sends how a command ended, and no files.")
    if everyone and args:
        raise click.UsageError("With --everyone there is nobody to name before '--'.")
    if not everyone and not args:
        raise click.UsageError("Say to whom: securechat-cli send alice --run -- make backup")
    return tuple(check_name(normalise_name(name)) for name in args)


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
        # What is too long is told as that, even where it is no text: so nothing of it may shrink.
        text = raw.decode("utf-8", "strict" if len(raw) <= HYBRID_CONTENT_MAX else "replace")
    except OSError:
        return ""
    except UnicodeDecodeError:
        raise click.UsageError("Standard input is not text in UTF-8; nothing was sent.") from None
    return text.removesuffix("\n")
