"""What the page shows and asks about whom to believe."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from clients.chat import ChatClient
from clients.chronicle import ConnectionState
from clients.profiles import OpenProfile
from core.events import Trust
from tests.broker_process import BrokerProcess, admin, cli
from tests.clients.pages import chat_of, connect, text, wait_for
from tests.net import until


def press(app: AppTest, key: str) -> AppTest:
    return app.button(key=key).click().run()


def keys(app: AppTest) -> set[str]:
    """The buttons that are there now."""
    return {button.key or "" for button in app.button}


def label(app: AppTest, name: str) -> str:
    return str(app.button(key=f"to-{name}").label)


def kid_of(app: AppTest, name: str) -> bytes | None:
    return next((peer.kid for peer in chat_of(app).client.users() if peer.user == name), None)


def meet(app: AppTest, me: str, name: str) -> AppTest:
    """Connect as the guest ``me`` and put ``name``, who is here, on the screen."""
    wait_for(connect(app, me), ConnectionState.ONLINE)
    until(lambda: kid_of(app, name))
    chat_of(app).open(name)
    return app.run()


def number(app: AppTest) -> str:
    """The number on the screen; empty without one."""
    _, _, rest = text(app).partition('aria-label="Safety number">')
    return rest.partition("</div>")[0].replace("<span>", "").replace("</span>", "")


def test_a_peer_can_be_verified_before_the_first_word(served: AppTest, broker: BrokerProcess) -> None:
    with ChatClient("trust-bob", broker.address, events=False) as bob:
        meet(served, "trust-alice", "trust-bob")
        assert "✓" not in label(served, "trust-bob") + text(served)
        until(lambda: any(peer.user == "trust-alice" for peer in bob.users()))
        press(served, "verify")
        theirs = bob.others
        assert theirs
        assert number(served) == theirs.number(theirs.pin("trust-alice")).replace(" ", "")
        press(served, "verified")
        assert number(served) == ""
        assert "✓ verified" in text(served)
        assert ":green[✓]" in label(served, "trust-bob")
        press(served, "verify")
        assert "trust-bob is verified since" in text(served)
        assert served.button(key="verify").label.startswith("Verify ")
        assert "verified" not in keys(served)


def test_nobody_can_be_verified_who_is_not_known(served: AppTest) -> None:
    wait_for(connect(served, "trust-alone"), ConnectionState.ONLINE)
    assert "verify" not in keys(served)
    chat_of(served).open("trust-stranger")
    assert "verify" not in keys(served.run())


@pytest.mark.parametrize("verified", [True, False])
def test_only_the_key_of_a_verified_guest_is_held_to(served: AppTest, broker: BrokerProcess, verified: bool) -> None:
    me, name = f"trust-me-{verified}".lower(), f"trust-guest-{verified}".lower()
    with ChatClient(name, broker.address, events=False):
        meet(served, me, name)
        served.chat_input(key="write-1").set_value("first").run()
        client = chat_of(served).client
        until(lambda: client.timeline(name)[-1].outcomes[name].safe)
        if verified:
            press(press(served, "verify"), "verified")
        before = kid_of(served, name)
    until(lambda: kid_of(served, name) is None)
    with ChatClient(name, broker.address, events=False) as again:
        until(lambda: kid_of(served, name) not in (None, before))
        served.run()
        assert (":red[⚠]" in label(served, name)) is verified
        assert ("⚠ another key than before" in text(served)) is verified
        assert ("with a new key" in text(served)) is not verified
        assert ("uses another key than the one you know" in text(served)) is verified
        served.chat_input(key="write-1").set_value("second").run()
        if not verified:
            until(lambda: again.timeline(me))
            return
        assert "Not sent:" in text(served)
        assert served.session_state["write-1"] is None  # given back to the composer
        assert [line.text for line in client.timeline(name) if line.mine] == ["first"]
        press(served, "accept")
        assert "uses another key" not in text(served)
        served.chat_input(key="write-1").set_value("second").run()
        until(lambda: again.timeline(me))
        assert [line.text for line in again.timeline(me)] == ["second"]


def test_a_block_stops_both_ways_until_it_is_ended(served: AppTest, broker: BrokerProcess) -> None:
    with ChatClient("trust-pest", broker.address, events=False) as pest:
        meet(served, "trust-calm", "trust-pest")
        press(press(served, "verify"), "block-compared")
        assert "<b>You have blocked trust-pest." in text(served)  # by choice: that is no warning
        assert ":gray[blocked]" in label(served, "trust-pest")
        served.chat_input(key="write-1").set_value("no").run()
        assert "<b>Not sent:</b> unblock them above first." in text(served)
        pest.wait_sent(pest.send("hey", "trust-calm"), 30, stored=False)
        client = chat_of(served).client
        assert [line.text for line in client.timeline("trust-pest") if line.text == "hey"] == []
        press(served, "unblock")
        assert "blocked" not in text(served) + label(served, "trust-pest")
        pest.wait_sent(pest.send("sorry", "trust-calm"), 30, stored=False)
        until(lambda: [line for line in client.timeline("trust-pest") if line.text == "sorry"])


def test_a_key_that_came_while_another_was_compared_is_not_what_was_decided(
    served: AppTest, broker: BrokerProcess, tmp_path: Path
) -> None:
    """The number on the screen is that of a profile's second key; the third one comes before the click."""
    name = "trust-swap"

    def hold(stack: ExitStack, number_: int) -> None:
        home = {**broker.env, "SECURECHAT_HOME": str(tmp_path / str(number_))}
        until(lambda: cli(home, "init", name).code == 0)  # the broker hears of a release in its own time
        profile = stack.enter_context(closing(OpenProfile(tmp_path / str(number_), name, None)))
        stack.enter_context(ChatClient(profile, broker.address, events=False))

    def change(stack: ExitStack, number_: int) -> None:
        before = kid_of(served, name)
        stack.close()
        assert admin(broker.data, broker.env, "release", name).code == 0
        hold(stack, number_)
        until(lambda: kid_of(served, name) not in (None, before))

    with ExitStack() as stack:
        hold(stack, 1)
        meet(served, "trust-watcher", name)
        others = chat_of(served).client.others
        assert others
        press(press(served, "verify"), "verified")
        change(stack, 2)
        press(served.run(), "compare")
        compared = number(served)
        change(stack, 3)
        press(served, "verified")
        assert "now uses another key than the one you know" in text(served)
        assert number(served) not in ("", compared)
        assert others.standing(name) is Trust.CHANGED
        press(served, "verified")
        assert others.standing(name) is Trust.VERIFIED
    assert admin(broker.data, broker.env, "release", name).code == 0
