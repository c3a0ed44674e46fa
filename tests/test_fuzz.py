"""The fuzz targets, for a moment each; ``make fuzz`` takes its time."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest

from broker.ledger import LogDamaged
from core.errors import BadAddress, KeystoreDamaged
from scripts.fuzz import Crash, at_random, attempt
from scripts.fuzz_targets import TARGETS, Target
from tests.hostile import Boom


@pytest.mark.parametrize("target", TARGETS, ids=lambda one: one.name)
def test_no_input_makes_it_raise_anything_else(target: Target) -> None:
    counts = at_random(target, 0.3, seed=1)
    assert counts["accepted"]  # the inputs to begin from are valid
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        attempt(target, pickle.dumps(Boom(), protocol))
    assert not Boom.ran


def test_a_parser_that_raises_something_else_is_found() -> None:
    broken = Target("broken", lambda data: data.decode("ascii"), (b"fine",), ())
    with pytest.raises(Crash, match="broken: UnicodeDecodeError"):
        at_random(broken, 30, seed=1)


def test_the_program_says_how_many_inputs_it_tried() -> None:
    command = [sys.executable, "-m", "scripts.fuzz", "--plain", "--seconds", "0.2", "--seed", "7", "--target", "address"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert "at random, seed 7" in done.stdout
    assert "inputs: " in done.stdout
    none = subprocess.run([*command[:-1], "nothing"], capture_output=True, text=True, timeout=60, check=False)
    assert none.returncode == 2


@pytest.mark.parametrize(
    ("name", "refusal"), [("connection-file", BadAddress), ("log-event", LogDamaged), ("keystore-content", KeystoreDamaged)]
)
def test_what_is_nested_without_end_is_refused(name: str, refusal: type[Exception]) -> None:
    target = next(one for one in TARGETS if one.name == name)
    for data in (b'{"x":' * 50_000, b"[" * 50_000, b"\x81\xa1x" * 50_000, b"\x81\xa4user\xa1\xff"):
        with pytest.raises(refusal):
            target.read(data)
