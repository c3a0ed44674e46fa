"""``outbox``: what waits to be sent, and what was not uploaded to its end."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from clients.cli_help import Command, Group
from clients.cli_send import guests_among, hint_at_block, report
from clients.cli_settings import DEFAULT_TIMEOUT, TakesIds, connected, merge, open_profile, shared_options
from clients.cli_values import Duration
from clients.exits import (
    CONNECTING,
    LIMIT,
    OK,
    OTHER,
    PARTIAL,
    TIMEOUT,
    UNLOCKING,
    WORDS,
    exit_code_of,
    overall,
    without_guests_who_left,
)
from clients.terminal import Terminal, faint
from clients.view import amount, clean, content_json, iso, listing, moment, text_of
from core import errors
from core.encoding import b64url
from core.events import Outcome
from core.messages import Mode

if TYPE_CHECKING:
    from clients.cli_settings import Settings
    from clients.profiles import OpenProfile
    from clients.tickets import Ticket
    from core.outbox import Outgoing


@click.group(cls=Group, exits=UNLOCKING, invoke_without_command=True)
@shared_options
@click.pass_context
def outbox(context: click.Context, /, **options: Any) -> None:
    """Show what waits to be sent; 'retry' sends it now, 'drop' gives it up.

    An upload that was broken off is shown, too: it goes on when the same file is sent again, or attached again on the page.

    \b
    securechat-cli outbox
    securechat-cli outbox retry
    securechat-cli outbox drop --all
    """
    if context.invoked_subcommand is None:
        _list(context, **options)
    else:
        context.obj = merge(context, **options)


@outbox.command("list", short_help="Show what waits to be sent", cls=Command, exits=UNLOCKING)
@shared_options
@click.pass_context
def list_(context: click.Context, /, **options: Any) -> None:
    """Show what waits to be sent, the oldest first, then the uploads that were broken off.

    \b
    securechat-cli outbox list
    """
    _list(context, **options)


def _list(context: click.Context, **options: Any) -> None:
    settings = merge(context, **options)
    with open_profile(settings) as profile:
        waiting, uploads = profile.store.outbox.waiting(), list(profile.store.tickets.all())
        held = profile.store.tickets.held()
    for one in waiting:
        _print_waiting(settings.terminal, one)
    for ticket in uploads:
        _print_upload(settings.terminal, ticket, under_way=ticket.blob in held)
    if not waiting and not uploads:
        settings.terminal.say("nothing waits to be sent")
    if any(ticket.blob not in held for ticket in uploads):
        settings.terminal.say("hint: an upload goes on when its file is sent again: securechat-cli send TO -f FILE")


def _print_waiting(terminal: Terminal, one: Outgoing) -> None:
    text = text_of(one.content).replace("\n", " ")
    short = text if len(text) <= 60 else f"{text[:60]}…"
    terminal.data(
        f"{b64url(one.id)}  {faint(moment(one.at / 1000))}  to {listing(one.to)}: {short}",
        {
            "v": 1,
            "type": "waiting",
            "id": b64url(one.id),
            "to": list(one.to),
            "time": iso(one.at),
            **content_json(one.content),
        },
    )


def _print_upload(terminal: Terminal, ticket: Ticket, *, under_way: bool) -> None:
    far = f"{amount(ticket.done)} of {amount(ticket.size)} at the broker{', under way' if under_way else ''}"
    terminal.data(
        f"{b64url(ticket.blob)}  upload of {clean(ticket.name)}: {far}",
        {
            "v": 1,
            "type": "upload",
            "id": b64url(ticket.blob),
            "name": ticket.name,
            "size": ticket.size,
            "done": ticket.done,
            "under_way": under_way,
        },
    )


@outbox.command(
    short_help="Send what waits, now", cls=Command, exits=CONNECTING | {LIMIT, PARTIAL, TIMEOUT}, words={OK: WORDS[OK]}
)
@click.option("--timeout", type=Duration(), default=DEFAULT_TIMEOUT, help="How long to wait for the answers.  [default: 10s]")
@shared_options
@click.pass_context
def retry(context: click.Context, /, timeout: float, **options: Any) -> None:
    """Connect, and send what waits. Uploads are not gone on with: send their files again.

    \b
    securechat-cli outbox retry
    securechat-cli outbox retry --timeout 1m
    """
    settings = merge(context, **options)
    with open_profile(settings) as profile:
        waited = profile.store.outbox.waiting()
        if not waited:
            settings.terminal.say("nothing waits to be sent")
            return
        with connected(settings, profile, Mode.SEND, max(timeout, DEFAULT_TIMEOUT)) as client:
            _until_sent(profile, timeout)
            problem = client.status.error
        codes = []
        gone: set[str] = set()
        everyone = {one.id for one in waited if one.everyone}
        for id_, outcomes in _became(profile, waited).items():
            if settings.as_json:
                values = {name: outcome.value for name, outcome in outcomes.items()}
                settings.terminal.data("", {
                    "v": 1, "type": "sent", "id": b64url(id_), "from": profile.user, "everyone": id_ in everyone,
                    "recipients": values,
                })  # fmt: skip
            report(settings.terminal, id_, outcomes, problem, kept=True)
            if id_ in everyone:
                guests = guests_among(profile.others, outcomes)
                gone.update(name for name, one in outcomes.items() if one is Outcome.ABSENT and name not in guests)
                outcomes = without_guests_who_left(outcomes, guests)  # noqa: PLW2901 - all were told of
            codes.append(exit_code_of(outcomes.values()))
        hint_at_block(settings.terminal, gone)
    sys.exit(overall(codes))


def _until_sent(profile: OpenProfile, timeout: float) -> None:
    """Wait until nothing waits, or for so many seconds."""
    until = time.monotonic() + timeout
    while profile.store.outbox.waiting() and time.monotonic() < until:
        time.sleep(0.05)


def _became(profile: OpenProfile, waited: Sequence[Outgoing]) -> dict[bytes, dict[str, Outcome]]:
    """What became of each copy of these, by message and recipient."""
    outcomes: dict[bytes, dict[str, Outcome]] = {}
    for one in waited:
        for user in one.to:
            copy = profile.store.outbox.copy(one.mid, user)
            outcomes.setdefault(one.id, {})[user] = copy.outcome if copy else Outcome.DROPPED
    return outcomes


@outbox.command(short_help="Give up what waits", cls=TakesIds, exits=UNLOCKING)
@click.argument("ids", nargs=-1, metavar="ID...")
@click.option("--all", "everything", is_flag=True, help="Everything that waits.")
@shared_options
@click.pass_context
def drop(context: click.Context, /, ids: tuple[str, ...], everything: bool, **options: Any) -> None:
    """Give up messages and uploads that wait, by the ids that 'outbox' shows. The messages stay in the history.

    An upload that is under way in another program is left alone: end that program first. One that was killed holds its upload
    for a minute and a half.

    \b
    securechat-cli outbox drop 4Nq0mZ3zX0yT1b2c3d4e5f
    securechat-cli outbox drop --all
    """
    settings = merge(context, **options)
    if not ids and not everything:
        raise click.UsageError("Say which: an ID from 'securechat-cli outbox', or --all.")
    with open_profile(settings) as profile:
        waiting, uploads = profile.store.outbox.waiting(), list(profile.store.tickets.all())
        known = {b64url(one.id) for one in waiting} | {b64url(ticket.blob) for ticket in uploads}
        if unknown := [one for one in ids if one not in known]:
            raise click.UsageError(f"Nothing with the id {unknown[0]} waits to be sent; nothing was dropped.")
        dropped = [one for one in waiting if everything or b64url(one.id) in ids]
        profile.store.drop(dropped, int(time.time() * 1000))
        meant = [ticket for ticket in uploads if everything or b64url(ticket.blob) in ids]
        held = profile.store.tickets.held()
        left_alone = [ticket for ticket in meant if ticket.blob in held]
        given_up = [ticket for ticket in meant if ticket.blob not in held]
        if given_up:
            _give_up(settings, profile, given_up)
    for ticket in left_alone:
        settings.terminal.warn(f"the upload of {clean(ticket.name)} is under way in another program, and was left alone")
    messages = list(dict.fromkeys(one.id for one in dropped))
    settings.terminal.say(f"{len(messages) + len(given_up)} dropped")
    if settings.as_json:
        settings.terminal.data("", {
            "v": 1, "type": "dropped", "messages": [b64url(one) for one in messages],
            "uploads": [b64url(one.blob) for one in given_up], "left": [b64url(one.blob) for one in left_alone],
        })  # fmt: skip
    sys.exit(OTHER if left_alone else OK)


def _give_up(settings: Settings, profile: OpenProfile, tickets: list[Ticket]) -> None:
    try:
        with connected(settings, profile, Mode.SEND, DEFAULT_TIMEOUT) as client:
            for ticket in tickets:
                client.files.give_up(ticket.path)
    except (errors.BrokerUnreachable, errors.LoginRefused) as error:
        for ticket in tickets:
            profile.store.tickets.drop(ticket.blob)
        settings.terminal.warn(f"the broker was not told, and keeps what it has of them for a while: {error}")
