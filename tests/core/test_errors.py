"""core.errors: one tree, and sentences that people read."""

from __future__ import annotations

import importlib
import pkgutil
import re

import pytest

import broker
import clients
import core
from core import errors
from core.errors import InvalidEnvelope, MessageTooLong, RemoteProtocolError, Replayed, SecureChatError


def _all(kind: type[SecureChatError]) -> list[type[SecureChatError]]:
    return [kind, *(one for sub in kind.__subclasses__() for one in _all(sub))]


for _package in (core, broker, clients):
    for _module in pkgutil.iter_modules(_package.__path__, f"{_package.__name__}."):
        if not _module.name.endswith(("__main__", "streamlit_app")):  # they are run, not imported
            importlib.import_module(_module.name)
ALL = [one for one in _all(SecureChatError) if one.__module__.startswith(("core.", "broker.", "clients."))]


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    assert errors.__doc__
    drawn = {"SecureChatError", *re.findall(r"[\u251c\u2514]\u2500\u2500 (\w+)", errors.__doc__)}
    assert drawn == {one.__name__ for one in ALL if one.__module__ == "core.errors"}


@pytest.mark.parametrize("kind", [one for one in ALL if not issubclass(one, InvalidEnvelope)])
def test_every_error_is_a_sentence_even_without_its_fields(kind: type[SecureChatError]) -> None:
    error = kind()
    assert str(error).strip()
    assert "\n" not in str(error)
    assert "{" not in str(error) + error.advice


def test_fields_are_filled_in_and_never_formatted_twice() -> None:
    error = MessageTooLong(suite="chunked", limit=8191, advice="Use {hybrid}.")
    assert str(error) == "The message is too long: chunked messages hold at most 8191 bytes of text."
    assert error.advice == "Use {hybrid}."
    assert str(RemoteProtocolError(what="{x} {0}")).endswith("{x} {0}.")


def test_a_refused_envelope_says_one_sentence_for_every_stage() -> None:
    assert len({str(InvalidEnvelope(stage)) for stage in ("parse", "signature", "aead")}) == 1
    assert "secret" not in str(Replayed(b"secret proof")) + repr(Replayed(b"secret proof"))
