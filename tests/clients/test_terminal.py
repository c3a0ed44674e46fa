"""What a terminal is given that does not know every character."""

from __future__ import annotations

import io

import pytest

from clients.terminal import Terminal
from core.errors import ConfigBroken


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("utf-8", "é✓✓ delivered · 😀…"),
        ("latin-1", "é++ delivered · \\U0001f600..."),
        ("ascii", "\\xe9++ delivered - \\U0001f600..."),
    ],
)
def test_a_mark_has_a_plainer_one_and_all_else_an_escape(monkeypatch: pytest.MonkeyPatch, encoding: str, shown: str) -> None:
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    terminal = Terminal(as_json=False, quiet=False)
    assert terminal.shown("é✓✓ delivered · 😀…") == shown
    assert terminal.can_print("✓") is (encoding == "utf-8")


def test_what_an_error_quotes_is_made_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal(as_json=False, quiet=False).complain(ConfigBroken(path="a\x1b[2J", why="b\x9b", advice="c\u202e"))
    assert capsys.readouterr().err == "error: a␛[2J cannot be used: b\ufffd.\nhint: c\ufffd\n"
