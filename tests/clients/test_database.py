"""A profile's database as a file: what is taken for one, and that Ctrl-C ends what SQLite does."""

from __future__ import annotations

import signal
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clients.database import is_made_by
from clients.store import SCHEMA, Store
from core.bundle import Suite
from core.content import File, Text
from core.errors import RecordDamaged
from core.memory import Pin
from core.outbox import Outgoing
from tests.broker_process import Running

ENDLESS = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
# What the tables that are made would not take: a text where a number is to be.
WRONG_TYPE = """
PRAGMA writable_schema = ON;
UPDATE sqlite_master SET sql = replace(sql, ' STRICT', '') WHERE name = 'bundles';
PRAGMA writable_schema = RESET;
INSERT INTO bundles VALUES (x'00', 'many');
PRAGMA writable_schema = ON;
UPDATE sqlite_master SET sql = sql || ' STRICT' WHERE name = 'bundles';
"""
COUNT = """
import sys
from pathlib import Path
from clients.database import Database
database = Database(Path(sys.argv[1]), "", 1)
print("ready", flush=True)
database.query(sys.argv[2])
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A profile's database, with something in it."""
    with closing(Store(tmp_path / "profile.db", bytes(32))) as store:
        store.set_setting("broker", "somewhere")
    return tmp_path / "profile.db"


def test_what_this_program_has_made_is_taken(path: Path) -> None:
    assert is_made_by(path, SCHEMA)
    assert is_made_by(path, SCHEMA.replace(", ", ",\n  "))


@pytest.mark.parametrize(
    "script",
    [
        f"DROP TABLE outbox; CREATE VIEW outbox (number) AS {ENDLESS}",
        "CREATE VIEW more AS SELECT 1",
        "CREATE TRIGGER more AFTER INSERT ON pins BEGIN DELETE FROM pins; END",
        "CREATE TABLE more (x)",
        "CREATE INDEX more ON pins (kid)",
        "DROP INDEX taken_at",
        "DROP TABLE settings; CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
        "DROP TABLE bundles; CREATE TABLE bundles (kid BLOB PRIMARY KEY, seq INTEGER NOT NULL CHECK (seq > 0)) STRICT",
        "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = 'nonsense' WHERE name = 'pins'",
        "PRAGMA writable_schema = ON; UPDATE sqlite_master SET rootpage = 2 WHERE type = 'table'",
        WRONG_TYPE,
    ],
)
def test_a_database_with_anything_else_in_it_is_not_taken(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as vandal:
        vandal.executescript(script)
    assert not is_made_by(path, SCHEMA)


@pytest.mark.parametrize("size", [0, 5000])
def test_half_a_database_is_not_taken(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])
    assert not is_made_by(path, SCHEMA)


def test_what_is_no_database_is_not_taken(path: Path) -> None:
    path.write_bytes(bytes(8192))
    assert not is_made_by(path, SCHEMA)


def test_ctrl_c_ends_a_statement_without_end(tmp_path: Path) -> None:
    with Running([sys.executable, "-c", COUNT, str(tmp_path / "a.db"), ENDLESS], {}) as counting:
        counting.out.has("ready")
        assert counting.end(signal.SIGINT) == -signal.SIGINT


@pytest.mark.parametrize(
    "change", [{"user": "x$(touch y)"}, {"since": 2**60}, {"verified": -1}, {"offered_at": 2**60}], ids=str
)
def test_a_pin_that_nobody_can_have_written_is_damage(path: Path, change: dict[str, Any]) -> None:
    pin = replace(Pin("bob", bytes(32), profile=True, since=1, verified=2, offered=bytes(32), offered_at=3), **change)
    with closing(Store(path, bytes(32))) as store:
        store.set_pin(pin)
        for read in (lambda: store.pin(pin.user), store.pins):
            with pytest.raises(RecordDamaged):
                read()


@pytest.mark.parametrize(
    "change",
    [{"to": ("x\x1b",)}, {"at": 2**60}, {"content": File("../a", 1, bytes(32), bytes(32), bytes(16))}],
    ids=["name", "time", "file"],
)
def test_what_waits_and_nobody_can_have_written_is_damage(path: Path, change: dict[str, Any]) -> None:
    one = Outgoing(bytes(16), bytes(16), Text("hi"), ("bob",), False, Suite.HYBRID, 1)
    with closing(Store(path, bytes(32))) as store:
        store.outbox.add([replace(one, **change)])
        with pytest.raises(RecordDamaged):
            store.outbox.waiting()


@pytest.mark.parametrize(
    ("sql", "read"),
    [
        ("UPDATE copies SET outcome = 'lost'", lambda store: store.outbox.copy(bytes(16), "bob")),
        ("INSERT INTO streams VALUES (x'00', x'00', 1, '[1]')", lambda store: store.stream(b"\0", b"\0")),
    ],
)
def test_what_is_in_plain_and_makes_no_sense_is_damage(path: Path, sql: str, read: Callable[[Store], object]) -> None:
    with closing(Store(path, bytes(32))) as store:
        store.outbox.add([Outgoing(bytes(16), bytes(16), Text("hi"), ("bob",), False, Suite.HYBRID, 1)])
        store.query(sql)
        with pytest.raises(RecordDamaged):
            read(store)
