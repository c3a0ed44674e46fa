"""``send`` wherever programs are started: pipelines, cron, units, odd locales, full pipes, and Ctrl-C at any moment."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.broker_process import ROOT, BrokerProcess, Finished, Running, cli, cli_command, got
from tests.clients.profiles.people import ok, release
from tests.net import PATIENCE

CLI = shlex.join(str(one) for one in cli_command())
TROUBLE = (b"Traceback", b"Exception ignored", b"BrokenPipeError", b"Fatal Python error")


def harmless(err: bytes) -> bool:
    """Whether nothing of Python's own complaints is in what a program said."""
    assert not any(one in err for one in TROUBLE), err.decode(errors="replace")
    return True


def run(env: dict[str, str], line: str, *, shell: str = "sh") -> Finished:
    """Run a line in which ``$CLI`` is the command, without a terminal; ``$?`` is what becomes of the last one."""
    done = subprocess.run(
        [shell, "-c", line.replace("$CLI", CLI)],
        env=env,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
        check=False,
        start_new_session=True,
    )
    assert harmless(done.stderr)
    return Finished(done.returncode, done.stdout, done.stderr)


# Pipelines


def test_in_the_middle_of_a_pipeline(env: dict[str, str], bob: Running) -> None:
    done = run(env, "printf 'disk: 93 %%\\nand full\\n' | $CLI --as ops send --json bob | cat")
    assert json.loads(done.out)["recipients"] == {"bob": "delivered"}
    assert got(bob, "disk: 93")["text"] == "disk: 93 %\nand full"


def test_what_a_failed_command_has_not_said_is_not_sent(env: dict[str, str]) -> None:
    done = run(env, "false | $CLI --as ops send bob")
    assert done.code == 2
    assert "There is nothing to send" in done.err


def test_it_does_not_take_the_loops_input(env: dict[str, str], bob: Running) -> None:
    # ssh is known for it: with a text in its arguments there is nothing to be read from standard input.
    done = run(env, "printf '1\\n2\\n3\\n' | while read -r n; do $CLI -q --as ops send bob \"line $n\" || exit; done")
    assert (done.code, done.out, done.err) == (0, "", "")
    for n in "123":
        got(bob, f"line {n}")


@pytest.mark.skipif(shutil.which("bash") is None, reason="PIPESTATUS is bash's")
@pytest.mark.parametrize("flags", ["", "--json", "-v"])
def test_a_reader_that_has_had_enough(env: dict[str, str], bob: Running, flags: str) -> None:
    done = run(env, f"$CLI {flags} --as ops send bob 'had enough' 2>&1 | true; exit ${{PIPESTATUS[0]}}", shell="bash")
    assert done.code in (0, 141)
    got(bob, "had enough")


@pytest.mark.parametrize(
    ("streams", "code"),
    [
        ("<&-", 0),
        (">&- 2>&-", 0),
        ("<&- >&- 2>&-", 0),
        ("2>/dev/full", 0),
        (">/dev/full", 0),
        ("--json >/dev/full", 1),
        ("--json >&-", 1),
        ("--json >/dev/full 2>&1", 1),
    ],
)
def test_streams_that_are_closed_or_full(env: dict[str, str], bob: Running, streams: str, code: int) -> None:
    text = f"with {streams}"
    assert run(env, f"$CLI --as ops send bob {shlex.quote(text)} {streams}").code == code
    got(bob, text)


# Cron and units


def bare(broker: BrokerProcess, **more: str) -> list[str]:
    """Nothing in the environment but where this test's broker and code are."""
    return [
        "env",
        "-i",
        f"PYTHONPATH={ROOT}",
        f"SECURECHAT_BROKER={broker.address.url}",
        *(f"{k}={v}" for k, v in more.items()),
    ]


def start(command: list[str], *, stdin: bytes = b"") -> Finished:
    done = subprocess.run(command, cwd="/", input=stdin, capture_output=True, timeout=60, check=False, start_new_session=True)
    assert harmless(done.stderr)
    return Finished(done.returncode, done.stdout, done.stderr)


def test_from_an_empty_environment(broker: BrokerProcess, bob: Running) -> None:
    command = [str(one) for one in cli_command("--as", "cron", "send", "bob")]
    done = start([*bare(broker), *command], stdin="Größe: 5 €\n".encode())
    assert done.code == 0, done.err
    assert got(bob, "Gr\\u00f6\\u00dfe")["text"] == "Größe: 5 €"


def test_from_crons_environment_with_a_profile(broker: BrokerProcess, bob: Running, tmp_path: Path) -> None:
    cron = bare(broker, HOME=str(tmp_path), LOGNAME="root", SHELL="/bin/sh", PATH="/usr/bin:/bin")
    assert start([*cron, *map(str, cli_command("init", "nightly"))]).code == 0
    done = start([*cron, "sh", "-c", f"echo 'backup failed' | {CLI} send bob"])
    assert done.code == 0, done.err
    assert got(bob, "backup failed")["from"] == "nightly"
    release(broker, "nightly")


def test_from_a_units_environment(broker: BrokerProcess, bob: Running, tmp_path: Path) -> None:
    # What systemd gives to a service with DynamicUser= and StateDirectory=: no HOME, no terminal, null for standard input.
    unit = bare(
        broker, PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", LANG="C.UTF-8", INVOCATION_ID="0" * 32,
        JOURNAL_STREAM="9:1", STATE_DIRECTORY=str(tmp_path), SECURECHAT_HOME=str(tmp_path),
    )  # fmt: skip
    assert start([*unit, *map(str, cli_command("init", "unit"))]).code == 0
    done = start([*unit, *map(str, cli_command("send", "bob", "nginx.service failed"))])
    assert done.code == 0, done.err
    assert got(bob, "nginx.service failed")["from"] == "unit"
    release(broker, "unit")


def test_a_home_that_cannot_be_used_is_named(broker: BrokerProcess, bob: Running) -> None:
    # A system user's home is often a folder that is not there, or that it may not write to.
    command = [str(one) for one in cli_command("send", "bob", "homeless")]
    assert start([*bare(broker, HOME="/nonexistent"), *command]).code == 0
    got(bob, "homeless")
    done = start([*bare(broker, HOME="/proc/1/nonexistent"), *map(str, cli_command("init", "nobody"))])
    assert done.code == 1
    assert "cannot be written" in done.err


# Terminals and locales


LOCALES: tuple[dict[str, str], ...] = (
    {"LC_ALL": "C"},
    {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    {"LC_ALL": "C", "PYTHONIOENCODING": "latin-1"},
    {"LC_ALL": "xx_YY.nonsense"},
    {"NO_COLOR": "1", "LC_ALL": "C.UTF-8"},
)


@pytest.mark.parametrize("more", LOCALES, ids=str)
def test_under_any_locale_what_arrives_is_what_was_written(env: dict[str, str], bob: Running, more: dict[str, str]) -> None:
    env = {name: value for name, value in env.items() if name != "LANG"} | more
    text = f"Größe 5 € ✓ {sorted(more.items())}"
    for form, stdin in (("as an argument", None), ("from a pipe", f"{text} from a pipe".encode())):
        arguments = [f"{text} {form}".encode()] if stdin is None else []
        done = cli(env, "--as", "ops", "send", "bob", *arguments, stdin=stdin)
        assert done.code == 0, done.err
        assert "\x1b" not in done.err
        assert got(bob, f"{json.dumps(text)[1:-1]} {form}")["text"] == f"{text} {form}"


@pytest.mark.parametrize("text", [b"\xff\xfe", b"Gr\xf6\xdfe", b"\xed\xa0\x80"])
def test_what_is_no_text_anywhere_is_refused(env: dict[str, str], text: bytes) -> None:
    done = cli({**env, "LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, "send", "bob", text)
    assert (done.code, "is not text in UTF-8" in done.err) == (2, True)


@pytest.fixture
def latin(tmp_path: Path) -> dict[str, str]:
    """A locale of ISO 8859-1, made for the test where the system can."""
    if shutil.which("localedef") is None:
        pytest.skip("there is no localedef here")
    made = subprocess.run(
        ["localedef", "-i", "de_DE", "-f", "ISO-8859-1", str(tmp_path / "de_DE")], capture_output=True, timeout=60, check=False
    )
    if made.returncode:
        pytest.skip("this system has no sources of locales")
    return {"LOCPATH": str(tmp_path), "LC_ALL": "de_DE", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def test_under_a_latin_locale_an_argument_is_what_was_typed(env: dict[str, str], bob: Running, latin: dict[str, str]) -> None:
    env = {name: value for name, value in env.items() if name != "LANG"} | latin
    done = cli(env, "--as", "ops", "send", "bob", "Größe in Latin".encode("latin-1"))
    assert done.code == 0, done.err
    assert got(bob, "in Latin")["text"] == "Größe in Latin"
    refused = cli(env, "--as", "ops", "send", "bob", stdin="Größe".encode("latin-1"))
    assert (refused.code, "not text in UTF-8" in refused.err) == (2, True)


# Ctrl-C

MOMENTS = 24
A_MODULE_OF_OURS = b" clients."


class Sender:
    """``send`` as the profile in ``env``; from when the first of its modules was loaded it can be interrupted.

    Before that it is Python itself which starts, and which says what it likes.
    """

    def __init__(self, env: dict[str, str], *arguments: str) -> None:
        program, *rest = cli_command(*arguments)
        self._process = subprocess.Popen(
            [program, "-X", "importtime", *rest],
            env=env,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,  # what is read here is not kept from ``communicate``
            start_new_session=True,
        )
        assert self._process.stderr
        while line := self._process.stderr.readline():
            if A_MODULE_OF_OURS in line:
                break
        self._began = time.monotonic()

    def interrupted_after(self, seconds: float | None) -> tuple[int, str, float]:
        """The exit code, what was said, and how long it ran, if SIGINT comes so long after its beginning."""
        with self._process as process:
            try:
                _, err = process.communicate(timeout=PATIENCE if seconds is None else seconds)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGINT)
                _, err = process.communicate(timeout=PATIENCE)
        assert harmless(err)
        said = [line for line in err.decode().splitlines() if not line.startswith("import time:")]
        return process.returncode, "\n".join(said), time.monotonic() - self._began


def test_ctrl_c_at_any_moment(broker: BrokerProcess, bob: Running, tmp_path: Path) -> None:
    alice = {**broker.env, "SECURECHAT_HOME": str(tmp_path / "alice")}
    ok(cli(alice, "init", "alice"))
    code, said, whole = Sender(alice, "send", "bob", "undisturbed").interrupted_after(None)
    assert (code, "sent to bob (delivered)" in said) == (0, True), said
    codes = []
    for moment in range(MOMENTS):
        code, said, _ = Sender(alice, "send", "bob", f"moment {moment}.").interrupted_after(whole * 1.1 * moment / MOMENTS)
        assert code in (0, 130), said
        assert code or "sent to bob" in said
        if "sent to bob" in said:
            got(bob, f"moment {moment}.")
        codes.append(code)
    assert codes[0] == 130
    # Whatever the history has, has arrived by now or still waits; and nothing came twice.
    ok(cli(alice, "outbox", "retry", "--timeout", "60s"))
    texts = [line["text"] for line in ok(cli(alice, "history", "--json", "--limit", "1000")).data]
    for text in texts:
        got(bob, f'"{text}"')
    arrived = [json.loads(line)["text"] for line in bob.out.lines if "moment " in line]
    assert sorted(arrived) == sorted(text for text in texts if text.startswith("moment "))
    release(broker, "alice")


def test_ctrl_c_at_any_moment_of_a_guest(broker: BrokerProcess, bob: Running) -> None:
    code, said, whole = Sender(broker.env, "--as", "g", "send", "bob", "undisturbed guest").interrupted_after(None)
    assert (code, "sent to bob (delivered)" in said) == (0, True), said
    for moment in range(MOMENTS // 2):
        after = whole * 1.1 * moment / (MOMENTS // 2)
        code, said, _ = Sender(broker.env, "--as", f"g{moment}", "send", "bob", f"guest {moment}.").interrupted_after(after)
        assert code in (0, 130), said
        assert code or "sent to bob" in said
        if "sent to bob" in said:
            got(bob, f"guest {moment}.")


def test_what_a_shell_started_in_the_background_is_not_interrupted(env: dict[str, str], bob: Running) -> None:
    # A shell without job control has such programs ignore SIGINT: Ctrl-C is meant for what is in front.
    done = run(env, "trap '' INT; $CLI --as ops send bob 'in the background' & kill -INT $!; wait $!")
    assert done.code == 0, done.err
    got(bob, "in the background")
