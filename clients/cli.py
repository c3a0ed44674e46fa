"""``securechat-cli``: the commands put together, and every way out of them."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from types import FrameType
from typing import Any, NoReturn

import click

from clients import (
    cli_backup,
    cli_chat,
    cli_completion,
    cli_doctor,
    cli_export,
    cli_files,
    cli_listen,
    cli_outbox,
    cli_past,
    cli_send,
    cli_trust,
)
from clients.cli_help import Program
from clients.cli_settings import Settings, merge, shared_options
from clients.exits import HUNG_UP, INTERRUPTED, OK, TERMINATED, USAGE
from clients.terminal import interruptible, open_streams, output_failed, tell
from core import errors
from core.version import VERSION


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@shared_options
@click.version_option(VERSION, message="%(prog)s %(version)s", help="Show the version.")
@click.pass_context
def cli(context: click.Context, /, **options: Any) -> None:
    """End-to-end encrypted chat from the command line.

    \b
    securechat-cli --as bob listen
    securechat-cli --as alice send bob 'backup done'
    df -h | securechat-cli send ops
    """
    context.obj = merge(context, **options)


for _heading, _command, _line in (
    ("Talk", cli_send.send, "Send a text, files, or how a command ended"),
    ("Talk", cli_listen.listen, "Print messages as they arrive, or have a command handle them"),
    ("Talk", cli_chat.chat, "Talk at a prompt"),
    ("Talk", cli_listen.users, "Show who is here"),
    ("What was said", cli_past.history, "Print what was said"),
    ("What was said", cli_files.download, "Fetch files that came with messages"),
    ("What was said", cli_export.export, "Print the whole history as Markdown or NDJSON"),
    ("What was said", cli_outbox.outbox, "Show, send or give up what waits to be sent"),
    ("Who is who", cli_trust.init, "Make a profile: keys to stay, and a name that is theirs"),
    ("Who is who", cli_trust.key, "Print a profile's fingerprint and public keys"),
    ("Who is who", cli_trust.verify, "Compare keys with somebody, and mark them as verified"),
    ("Who is who", cli_trust.trust, "Accept the key that somebody uses now, or end a block"),
    ("Who is who", cli_trust.block, "Send nothing to somebody, and take nothing from them"),
    ("Care", cli_listen.status, "Show the broker, and whether it answers"),
    ("Care", cli_doctor.doctor, "Check what SecureChat needs on this machine"),
    ("Care", cli_backup.backup, "Put a profile into one file"),
    ("Care", cli_backup.restore, "Put a profile back from a backup"),
    ("Care", cli_completion.completion, "Print what makes a shell complete commands and names"),
):
    cli.add(_heading, _command, _line)


def _terminated(number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(TERMINATED if number == signal.SIGTERM else HUNG_UP)


def main() -> NoReturn:
    """Run the command line; every way out is an exit code, none a traceback."""
    signal.signal(signal.SIGTERM, _terminated)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # not under nohup
        signal.signal(signal.SIGHUP, _terminated)
    open_streams()
    own = sys.argv[: sys.argv.index("--")] if "--" in sys.argv else sys.argv  # what stands behind it is somebody else's
    settings = Settings(as_json="--json" in own)
    try:
        with interruptible():
            cli.main(prog_name="securechat-cli", standalone_mode=False)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.UsageError as error:
        with contextlib.suppress(OSError):
            error.show()
        sys.exit(USAGE)
    except (KeyboardInterrupt, click.Abort) as end:
        if not isinstance(end.__cause__, KeyboardInterrupt):  # click has ended the line, then
            tell("")
        os._exit(INTERRUPTED)  # all is put in order; on its usual way out, Python would at times end by the signal itself
    except errors.SecureChatError as error:
        settings.terminal.fail(error)
    except OSError as error:
        if error.filename is not None:
            raise
        settings.terminal.fail(output_failed(error))
    sys.exit(OK)
