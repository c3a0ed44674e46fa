"""``export`` as a process: to standard output and to files, as Markdown and as NDJSON."""

from __future__ import annotations

import stat
from pathlib import Path

from tests.broker_process import cli, got, listening
from tests.clients.profiles.people import Env, greet, ok


def talk(alice: Env, bob: Env) -> None:
    greet(bob, alice, "alice")
    with listening(bob, None, "--json") as there:
        ok(cli(alice, "send", "bob", "![](http://evil.example/x.png)\n\n# not a heading"))
        ok(cli(alice, "send", "--everyone", "to all"))
        got(there, "to all")


def body(markdown: str) -> list[str]:
    """What follows the head, which says when it was made."""
    return markdown.splitlines()[3:]


def test_a_history_is_exported_whole_or_with_one_peer(alice: Env, bob: Env, tmp_path: Path) -> None:
    talk(alice, bob)
    shown = ok(cli(alice, "export")).out
    assert shown.startswith("# Messages of alice\n")
    assert "\n    ![](http://evil.example/x.png)\n    \n    # not a heading\n" in shown
    assert [text in shown for text in ("good morning", "to all")] == [True, True]
    with_bob = ok(cli(alice, "export", "Bob")).out
    assert [text in with_bob for text in ("good morning", "to all")] == [True, False]
    to_all = ok(cli(alice, "export", "everyone")).out
    assert [text in to_all for text in ("good morning", "to all")] == [False, True]
    assert "nothing was found" in ok(cli(alice, "export", "carol")).err
    assert body(ok(cli(alice, "export", "-o", "-", "everyone")).out) == body(to_all)


def test_json_is_that_of_the_history(alice: Env, bob: Env, tmp_path: Path) -> None:
    talk(alice, bob)
    lines = ok(cli(alice, "export", "--json")).data
    assert len(lines) == 3
    assert lines == ok(cli(alice, "history", "--json", "--limit", "1000")).data
    path = tmp_path / "alice.ndjson"
    done = ok(cli(alice, "export", "--json", "-o", str(path)))
    assert done.out == ""
    assert "3 messages written to" in done.err
    assert path.read_text().splitlines() == ok(cli(alice, "export", "--json")).out.splitlines()


def test_a_file_is_private_and_never_overwritten(alice: Env, bob: Env, tmp_path: Path) -> None:
    talk(alice, bob)
    path = tmp_path / "alice.md"
    ok(cli(alice, "export", "-o", str(path)))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert body(path.read_text()) == body(ok(cli(alice, "export")).out)
    path.write_text("mine")
    done = cli(alice, "export", "-o", str(path))
    assert done.code == 1
    assert f"{path} is there already, and was left as it is" in done.err
    assert path.read_text() == "mine"
    assert sorted(one.name for one in tmp_path.iterdir() if one.is_file()) == ["alice.md"]


def test_a_guest_has_nothing_to_export(alice: Env) -> None:
    done = cli(alice, "--as", "erin", "export")
    assert done.code == 1
    assert "erin is a guest" in done.err
