"""Whom a profile believes, whatever the broker says; as real processes."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from clients.profiles import OpenProfile
from core.bundle import Suite
from core.content import Text
from core.outbox import compose
from tests.broker_process import BrokerProcess, Running, cli, cli_command, got, listening
from tests.clients.profiles.people import Env, greet, number, ok, release, trust_of
from tests.net import until

# Trust


def test_both_see_one_number_and_the_right_one_verifies(alice: Env, bob: Env) -> None:
    greet(alice, bob, "bob")
    digits = number(alice, "bob")
    assert digits == number(bob, "alice")
    assert len(digits) == 60
    assert digits.isdecimal()
    spaced = " ".join(digits[at : at + 5] for at in range(0, 60, 5))
    done = ok(cli(alice, "verify", "bob", "--number", spaced))
    assert "bob is verified" in done.err
    with listening(bob, None):
        assert trust_of(alice, "bob") == "verified"


@pytest.mark.parametrize("wrong", ["swapped", "short", "empty", "words"])
def test_a_wrong_number_verifies_nothing(alice: Env, bob: Env, wrong: str) -> None:
    greet(alice, bob, "bob")
    digits = number(alice, "bob")
    told = {"swapped": digits[30:] + digits[:30], "short": digits[:-1], "empty": "", "words": "twelve groups"}[wrong]
    if told == digits:
        told = digits[::-1]
    done = cli(alice, "verify", "bob", "--number", told, "--json")
    if wrong == "swapped":
        assert (done.code, done.data[-1]["error"]) == (4, "NumbersDiffer")
        assert "The numbers differ" in done.err
    else:  # a slip of the finger is no attack
        assert done.code == 2
        assert "all 60 digits" in done.err
    with listening(bob, None):
        assert trust_of(alice, "bob") == "pinned"


def test_verification_needs_no_broker(tmp_path: Path, alice: Env, bob: Env) -> None:
    greet(alice, bob, "bob")
    lonely = {**alice, "XDG_RUNTIME_DIR": str(tmp_path)}
    ok(cli(lonely, "--broker", "securechat://127.0.0.1:1/" + "A" * 43, "verify", "bob", "--yes"))


def test_without_a_terminal_a_number_is_shown_and_not_confirmed(alice: Env, bob: Env) -> None:
    greet(alice, bob, "bob")
    done = ok(cli(alice, "verify", "bob"))
    digits = number(alice, "bob")
    assert all(digits[at : at + 5] in done.out for at in range(0, 60, 5))
    with listening(bob, None):
        assert trust_of(alice, "bob") == "pinned"


@pytest.mark.parametrize("command", ["verify", "trust", "block"])
def test_somebody_who_was_never_met(alice: Env, command: str) -> None:
    done = cli(alice, command, "stranger")
    assert done.code == 6
    assert "never met stranger" in done.err


def test_verified_only(alice: Env, bob: Env) -> None:
    with listening(bob, None, "--json") as present, listening(alice, "guest", "--json") as guest:
        for to in (("bob",), ("--everyone",)):
            done = cli(alice, "send", *to, "--verified-only", "no")
            assert done.code == 4, done.err
            assert ("You have verified none of those who are here" if "--everyone" in to else "not verified bob") in done.err
        ok(cli(alice, "send", "bob", "hi"))
        ok(cli(alice, "verify", "bob", "--yes"))
        ok(cli(alice, "send", "bob", "--verified-only", "to the one"))
        done = ok(cli(alice, "--json", "send", "--everyone", "--verified-only", "to all of them"))
        assert done.data[0]["recipients"] == {"bob": "delivered"}
        got(present, "to all of them")
        assert cli(alice, "send", "bob", "guest", "--verified-only", "mixed").code == 4
        ok(cli(alice, "send", "guest", "the end"))
        got(guest, "the end")
        assert [line for line in present.out.lines if "mixed" in line or '"no"' in line] == []
        assert len(guest.out.lines) == 1


def test_who_is_new_is_said_before_everyone_hears_it(alice: Env, bob: Env) -> None:
    with listening(bob, None):
        done = ok(cli(alice, "--json", "send", "--everyone", "first"))
        assert done.data[0]["new"] == ["bob"]
        assert "new to you: bob" in done.err
        done = ok(cli(alice, "--json", "send", "--everyone", "second"))
        assert done.data[0]["new"] == []
        assert "new to you" not in done.err


def test_a_profile_that_the_broker_does_not_know_any_more_is_of_everyone_until_it_is_blocked(
    broker: BrokerProcess, alice: Env, bob: Env, person: Callable[[str], Env]
) -> None:
    ok(cli(person("erin"), "init", "erin"))
    ok(cli(alice, "send", "erin", "hi"))
    ok(cli(alice, "verify", "erin", "--yes"))
    release(broker, "erin")
    until(lambda: cli(alice, "send", "erin", "are you there?").code == 6)
    assert cli(alice, "send", "--everyone", "to nobody at all").code == 6
    ok(cli(alice, "send", "bob", "hi"))
    (alice_home := Path(alice["SECURECHAT_HOME"])).joinpath("plan.txt").write_text("a plan")
    done = cli(alice, "--json", "send", "--everyone", "to whoever is left", "-f", str(alice_home / "plan.txt"))
    assert done.code == 7
    assert [line["recipients"] for line in done.data] == [{"bob": "stored", "erin": "absent"}] * 2
    assert done.err.count("not sent to erin: was not here") == 2
    assert done.err.count("hint: who is gone for good is left out of everyone by: securechat-cli block erin") == 1
    with contextlib.closing(OpenProfile(alice_home, "alice", None)) as profile:
        later = compose(
            bytes(16),
            Text("later"),
            ("bob", "erin"),
            everyone=True,
            suite=Suite.HYBRID,
            at=int(time.time() * 1000),
            random=os.urandom,
        )
        profile.store.outbox.add(later)
    done = cli(alice, "--json", "outbox", "retry")
    assert (done.code, done.data[0]["recipients"]) == (7, {"bob": "stored", "erin": "absent"})
    assert done.err.count("securechat-cli block erin") == 1
    ok(cli(alice, "block", "erin"))
    done = ok(cli(alice, "--json", "send", "--everyone", "to bob"))
    assert done.data[0]["recipients"] == {"bob": "stored"}
    assert "block" not in done.err


def test_a_block_holds_both_ways_until_it_is_ended(alice: Env, bob: Env) -> None:
    greet(alice, bob, "bob")
    ok(cli(alice, "block", "bob"))
    with listening(bob, None, "--json") as present, listening(alice, None, "--json") as mine:
        done = cli(alice, "send", "bob", "to the blocked")
        assert done.code == 4
        assert "You have blocked bob" in done.err
        done = cli(alice, "send", "--everyone", "to all but the blocked")
        assert done.code == 6
        done = cli(bob, "send", "alice", "from the blocked")
        assert done.code == 4
        done = ok(cli(alice, "trust", "bob"))
        assert "bob is no longer blocked" in done.err
        ok(cli(alice, "send", "bob", "to the trusted"))
        got(present, "to the trusted")
        ok(cli(bob, "send", "alice", "from the trusted"))
        got(mine, "from the trusted")
        assert not any("the blocked" in line for line in (*present.out.lines, *mine.out.lines))


def test_trusting_a_key_that_did_not_change_says_so(alice: Env, bob: Env) -> None:
    greet(alice, bob, "bob")
    assert "the key you know" in ok(cli(alice, "trust", "bob")).err


def test_a_changed_key_is_not_written_to_until_it_is_accepted(
    broker: BrokerProcess, alice: Env, bob: Env, person: Callable[[str], Env]
) -> None:
    greet(alice, bob, "bob")
    greet(bob, alice, "alice")
    before = number(alice, "bob")
    ok(cli(alice, "verify", "bob", "--yes"))
    release(broker, "bob")
    anew = person("bob's new laptop")
    until(lambda: cli(anew, "init", "bob").code == 0)
    with listening(anew, None, "--json") as present:
        with listening(alice, None, "--json") as mine:
            for _ in range(2):
                done = cli(anew, "send", "alice", "it is me")  # which alice's client does not believe
                assert done.code == 4
                assert "could not be opened there" in done.err
            mine.err.has("bob now uses another key")
            assert mine.err.text.count("securechat-cli verify bob") == 1
            (told,) = map(json.loads, mine.out.lines)
            assert (told["type"], told["user"]) == ("key-changed", "bob")
            assert told["fingerprint"] == json.loads(ok(cli(anew, "--json", "key")).out)["fingerprint"] != told["known"]
        for _ in range(2):
            done = cli(alice, "--json", "send", "bob", "secret")
            assert done.code == 4
            assert done.data[-1]["recipients"] == {"bob": "changed"}
            assert "bob now uses another key than the one you know" in done.err
            assert "securechat-cli verify bob" in done.err
        assert trust_of(alice, "bob") == "changed"
        shown = ok(cli(alice, "--json", "verify", "bob")).data[0]
        assert shown["changed"] is True
        assert shown["number"] != before
        assert shown["number"] == number(anew, "alice")
        done = ok(cli(alice, "trust", "bob"))
        assert "verify it when you can" in done.err
        assert trust_of(alice, "bob") == "pinned"
        ok(cli(alice, "send", "bob", "welcome back"))
        got(present, "welcome back")
        assert not any("secret" in line for line in present.out.lines)


def test_a_guest_under_a_profiles_name_is_a_changed_key(broker: BrokerProcess, alice: Env, bob: Env) -> None:
    greet(alice, bob, "bob")
    release(broker, "bob")
    guest = {**broker.env, "SECURECHAT_HOME": alice["SECURECHAT_HOME"] + " of nobody"}
    running: list[Running] = []

    def taken() -> bool:
        one = Running(cli_command("--as", "bob", "listen", "--json"), guest)
        until(lambda: "connected; here:" in one.err.text or one.process.poll() is not None)
        if one.process.poll() is None:
            running.append(one)
            return True
        one.close()
        return False

    until(taken)
    with running[0] as impostor:
        done = cli(alice, "send", "bob", "secret")
        assert done.code == 4
        assert impostor.out.lines == []
    ok(cli(bob, "users"))  # the profile claims its name again, for the fixture's sake
