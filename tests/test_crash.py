"""The crash test in short, and what its checker finds; ``make crash`` is the long form."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from core.bundle import Suite
from core.content import Text
from core.encoding import b64url
from core.events import Event, Message, MessageReceived, MessageRefused, MessageSent, Outcome, Receipt, Trust
from core.order import Place
from scripts.crash import files
from scripts.crash.checker import Checker, Evidence, Kind, Shown
from scripts.crash.journal import Handed, Journal, Line, Told, Tried, read_journal
from tests.broker_process import ROOT, environment


def test_nothing_is_lost_doubled_or_invented(tmp_path: Path) -> None:
    command = ["-m", "scripts.crash", "--kills", "14", "--interval", "0.4", "--stall", "1", "--plant", "none", "--files", "0"]
    done = subprocess.run(
        [sys.executable, *command],
        env=environment(tmp_path),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    counts = re.search(r"(\d+) copies, .* (\d+) there once", done.stdout)
    assert counts, done.stdout
    assert counts[1] == counts[2] != "0"
    assert "\n0 findings\n" in done.stdout


def test_a_file_arrives_whole_whoever_is_killed_in_its_middle() -> None:
    for one in files.carried(files.PARTIES, 24 * 1024 * 1024, kills=2, seed=1):
        assert one.whole, one
        assert 0 <= one.again <= one.allowed, one


# The checker

ID, OTHER = b"\1" * 16, b"\2" * 16


def received(id_: bytes = ID, text: str = "a 1", sender: str = "ann", to: str = "bob", place: Place = Place()) -> Event:  # noqa: B008
    return MessageReceived(Message(id_, sender, b"k" * 32, (to,), False, 0, Suite.HYBRID, Trust.PINNED, Text(text), place))


def sent(id_: bytes = ID, text: str = "a 1") -> list[Event]:
    return [MessageSent(id_, ("bob",), False, Suite.HYBRID, Text(text), 0), Receipt(id_, "bob", Outcome.DELIVERED)]


def shown(id_: bytes = ID, text: str = "a 1") -> Shown:
    return Shown(b64url(id_), "ann", text)


def good() -> Evidence:
    """Ann has sent two messages to bob."""
    return Evidence(
        journals={"ann": [Tried("a 1"), Handed(ID), Tried("a 2"), Handed(OTHER), Told(ID, "bob", Outcome.STORED)]},
        histories={"ann": [*sent(), *sent(OTHER, "a 2")], "bob": [received(), received(OTHER, "a 2")]},
        shown={"bob": [[shown()], [shown(), shown(OTHER, "a 2")]]},
        gaps={("bob", "ann"): 0},
    )


def kinds(evidence: Evidence) -> set[Kind]:
    return {finding.kind for finding in Checker(evidence).findings}


def test_what_is_good_is_counted() -> None:
    checker = Checker(good())
    assert checker.findings == []
    assert checker.counts == {
        "messages": 2, "copies": 2, "there once": 2, "reported stored": 1, "reported delivered": 2, "shown": 2,
        "shown again": 1, "late": 0, "gaps seen": 0,
    }  # fmt: skip


@pytest.mark.parametrize("outcome", [Outcome.STORED, Outcome.DELIVERED])
def test_what_was_reported_and_is_not_there(outcome: Outcome) -> None:
    evidence = good()
    evidence.histories["ann"][3] = Receipt(OTHER, "bob", outcome)
    del evidence.histories["bob"][1]
    del evidence.shown["bob"][1][1]
    assert kinds(evidence) == {Kind.LOST}


def test_what_only_the_sender_was_told_counts_as_well() -> None:
    evidence = good()
    del evidence.histories["ann"][1]
    del evidence.histories["bob"][0]
    evidence.shown["bob"] = [[shown(OTHER, "a 2")]]
    assert kinds(evidence) == {Kind.LOST}


def test_what_was_taken_and_never_arrived() -> None:
    evidence = good()
    del evidence.histories["ann"][3], evidence.histories["bob"][1], evidence.shown["bob"][1][1]
    assert kinds(evidence) == {Kind.UNSENT}
    del evidence.histories["ann"][2]  # not even kept
    assert kinds(evidence) == {Kind.UNSENT}


def test_what_is_there_twice() -> None:
    evidence = good()
    evidence.histories["bob"].append(received(b"\3" * 16))
    evidence.shown["bob"].append([shown(b"\3" * 16)])
    assert kinds(evidence) == {Kind.TWICE}


@pytest.mark.parametrize("event", [received(b"\3" * 16, "b 9"), received(b"\3" * 16, sender="carl")], ids=["text", "sender"])
def test_what_nobody_sent(event: Event) -> None:
    evidence = good()
    assert isinstance(event, MessageReceived)
    message = event.message
    evidence.histories["bob"].append(event)
    evidence.shown["bob"].append([Shown(b64url(message.id), message.sender, "b 9" if message.sender == "ann" else "a 1")])
    assert Kind.FOREIGN in kinds(evidence)


def test_what_is_shown_and_is_not_in_the_history() -> None:
    evidence = good()
    evidence.shown["bob"].append([shown(b"\3" * 16)])
    assert kinds(evidence) == {Kind.FOREIGN}


@pytest.mark.parametrize("outcome", [Outcome.EXPIRED, Outcome.UNPROVEN, Outcome.ABSENT])
def test_a_failure_without_a_reason(outcome: Outcome) -> None:
    evidence = good()
    evidence.histories["ann"].append(Receipt(OTHER, "bob", outcome))
    assert kinds(evidence) == {Kind.FAILED}


def test_a_message_that_was_refused() -> None:
    evidence = good()
    evidence.histories["bob"].append(MessageRefused("ann", b"\3" * 16, "signature"))
    assert kinds(evidence) == {Kind.FAILED}


def test_a_sender_who_was_never_told() -> None:
    evidence = good()
    del evidence.histories["ann"][3]
    assert kinds(evidence) == {Kind.UNTOLD}


def test_a_gap_and_a_fork() -> None:
    evidence = good()
    evidence.gaps["bob", "ann"] = 1
    evidence.histories["bob"][1] = received(OTHER, "a 2", place=Place(fork=True))
    assert kinds(evidence) == {Kind.GAP, Kind.FORK}


def test_a_line_that_was_never_printed() -> None:
    evidence = good()
    evidence.shown["bob"] = [[shown(OTHER, "a 2")]]
    assert kinds(evidence) == {Kind.UNSHOWN}


@pytest.mark.parametrize(
    "runs",
    [
        [[ID, ID, OTHER]],  # not after a kill
        [[ID, OTHER], [ID]],  # not the last line
        [[ID], [ID], [OTHER], [OTHER, OTHER]],
        [[OTHER, ID]],
    ],
    ids=["at once", "an earlier one", "thrice", "in another order"],
)
def test_a_line_that_is_printed_again_or_too_early(runs: list[list[bytes]]) -> None:
    evidence = good()
    evidence.shown["bob"] = [[shown(id_, "a 1" if id_ == ID else "a 2") for id_ in run] for run in runs]
    assert kinds(evidence) == {Kind.AGAIN}


def test_an_accident() -> None:
    evidence = good()
    evidence.accidents.append("listen-bob ended with 1")
    assert kinds(evidence) == {Kind.FELL}


def test_a_journal_is_read_up_to_where_its_writer_was_killed(tmp_path: Path) -> None:
    lines: list[Line] = [Tried("a 1"), Handed(ID), Told(ID, "bob", Outcome.STORED)]
    journal = Journal(tmp_path / "journal")
    for line in lines:
        journal.say(line)
    journal.close()
    assert read_journal(tmp_path / "journal") == lines
    (tmp_path / "journal").write_bytes((tmp_path / "journal").read_bytes()[:-3])
    assert read_journal(tmp_path / "journal") == lines[:-1]
    assert read_journal(tmp_path / "none") == []
