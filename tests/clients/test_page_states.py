"""Each state of the page that needs no browser, drawn by Streamlit's own test runner."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from clients import page_connect
from clients.chat import ChatClient
from clients.chronicle import ConnectionState
from clients.config_file import config_path
from clients.page_chat import has_ended
from clients.page_hints import broker_command, cli_command
from clients.page_state import DEPARTURES, Departures
from core.address import BrokerAddress
from core.bundle import Suite
from core.names import EVERYONE
from tests.broker_process import ROOT, BrokerProcess
from tests.clients.pages import NOWHERE, chat_of, connect, search_field, send, text, wait_for
from tests.net import until


def test_the_first_run_says_where_keys_live_and_how_to_get_a_broker(lonely: AppTest) -> None:
    assert "live in this program, on the machine that runs it" in text(lonely).replace("\n", " ")
    assert "No broker is running on this machine." in text(lonely)
    assert lonely.code[0].value == "make broker"
    assert lonely.text_input(key="broker").value == ""
    connect(lonely, "alice")
    assert "chat" not in lonely.session_state
    assert lonely.text_input(key="name").value == "alice"


def test_a_config_file_that_is_not_understood_is_said_until_it_is(lonely: AppTest) -> None:
    path = config_path()
    path.parent.mkdir(parents=True)
    path.write_text("colour = true\n")
    lonely.run()
    assert "config.toml cannot be used: it has the unknown key &#x27;colour&#x27;" in text(lonely)
    assert "There are: broker, profile, as, home, passphrase_file." in text(lonely)
    path.write_text(f"broker = '{NOWHERE}'\n")
    lonely.run()
    assert "colour" not in text(lonely)
    assert lonely.text_input(key="broker").value == NOWHERE


def test_a_local_broker_is_filled_in(served: AppTest, broker: BrokerProcess) -> None:
    assert served.text_input(key="broker").value == broker.address.url
    assert "No broker" not in text(served)


@pytest.mark.parametrize(
    ("name", "address", "sentence"),
    [
        ("everyone", NOWHERE, "&#x27;everyone&#x27; is not a username."),
        ("a b", NOWHERE, "&#x27;a b&#x27; is not a username."),
        ("<b>", NOWHERE, "&#x27;&lt;b&gt;&#x27; is not a username."),
        ("", NOWHERE, "&#x27;&#x27; is not a username."),
        ("alice", "http://127.0.0.1:1", "This is not a broker&#x27;s address: it does not begin with securechat://."),
    ],
)
def test_what_cannot_be_is_said_and_stays_in_its_field(lonely: AppTest, name: str, address: str, sentence: str) -> None:
    connect(lonely, name, address)
    assert sentence in text(lonely)
    assert "chat" not in lonely.session_state
    assert lonely.text_input(key="name").value == name
    assert lonely.text_input(key="broker").value == address


def test_a_broker_that_does_not_answer_is_tried_again_while_messages_wait(lonely: AppTest) -> None:
    connect(lonely, "Alice", NOWHERE)
    assert "&#x27;Alice&#x27; became &#x27;alice&#x27;: names are lower-case" in text(lonely)
    wait_for(lonely, ConnectionState.OFFLINE)
    assert "127.0.0.1:9" in text(lonely)
    assert "nothing answers there" in text(lonely)
    assert "To everyone you can write once it is known who is here." in text(lonely)
    assert "messages wait here" not in text(lonely)
    assert not [code.value for code in lonely.code if " send alice" in code.value]  # nobody could send anything now

    chat_of(lonely).open("bob")
    lonely.run()
    assert "messages wait here" in text(lonely)
    lonely.chat_input(key="write-1").set_value("for later").run()
    assert "… queued" in text(lonely)
    assert "1 message waits here" in text(lonely)
    send(lonely, "to whom?")
    chat_of(lonely).open(EVERYONE)
    lonely.run()
    assert "who is here is known once the connection stands" in text(lonely)
    assert lonely.session_state["write-0"] is None  # given back to the composer once, not sent again and again

    lonely.button(key="leave").click().run()
    assert lonely.text_input(key="name").value == "alice"
    assert lonely.text_input(key="broker").value == NOWHERE
    assert "chat" not in lonely.session_state


def test_what_starts_the_broker_of_this_machine_is_said_while_none_runs(lonely: AppTest) -> None:
    wait_for(connect(lonely, "alice", NOWHERE), ConnectionState.OFFLINE)
    assert "To start the broker again:" in text(lonely)
    (shown,) = [code.value for code in lonely.code if "securechat-broker" in code.value]
    assert shown == broker_command(BrokerAddress.parse(NOWHERE))
    assert shown.endswith("securechat-broker --host 127.0.0.1 --port 9")
    assert "securechat-broker" not in text(lonely)
    assert broker_command(BrokerAddress.parse(NOWHERE.replace("127.0.0.1", "chat.example.org"))) == ""
    assert broker_command(BrokerAddress.parse(NOWHERE.replace(":9/", ":12345/"))).endswith("securechat-broker --host 127.0.0.1")


def test_nobody_is_told_to_start_a_broker_that_runs(served: AppTest, broker: BrokerProcess) -> None:
    assert broker_command(broker.address) == ""


def test_the_line_to_type_is_the_short_one_only_where_the_shell_knows_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "env" / "bin" / "securechat-cli"
    program.parent.mkdir(parents=True)
    program.touch(0o755)
    monkeypatch.setattr("sys.prefix", str(tmp_path / "env"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli_command() == str(program)
    monkeypatch.chdir(tmp_path)
    assert cli_command() == "env/bin/securechat-cli"
    monkeypatch.setenv("PATH", str(program.parent))
    assert cli_command() == "securechat-cli"


def test_nobody_else_is_here(served: AppTest) -> None:
    wait_for(connect(served, "alice"), ConnectionState.ONLINE)
    assert any(code.value.startswith(f"{cli_command()} --as carol send alice ") for code in served.code)
    assert "Nothing has been said yet." in text(served)
    assert "Nobody else is here yet." in text(served)
    send(served, "anybody?")
    assert "Nobody else is connected, so nothing was sent." in text(served)
    assert chat_of(served).client.timeline(EVERYONE) == ()


def test_who_has_written_elsewhere_is_one_press_away_where_nothing_was_said(served: AppTest, broker: BrokerProcess) -> None:
    wait_for(connect(served, "alice"), ConnectionState.ONLINE)
    with ChatClient("bob", broker.address, events=False) as bob:
        bob.send("for you", "alice")
        until(lambda: [one for one in served.run().button if one.label == "1 new message from bob"])
        next(one for one in served.button if one.label == "1 new message from bob").click().run()
        assert chat_of(served).current == "bob"
        assert "for you" in text(served)


def test_much_that_is_new_elsewhere_takes_few_lines(served: AppTest, broker: BrokerProcess) -> None:
    wait_for(connect(served, "alice"), ConnectionState.ONLINE)
    names = [f"writer{number}" for number in range(5)]
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(ChatClient(name, broker.address, events=False)).send("psst", "alice")
        until(lambda: len(served.run() and chat_of(served).unread) == 5)
        assert len([one for one in served.button if (one.key or "").startswith("read-")]) == 3
        first = next(iter(chat_of(served).unread))
        assert served.button(key="elsewhere").label == f"1 new from {first}, and in 4 more"
        served.button(key="elsewhere").click().run()
        assert chat_of(served).current == first
        assert served.button(key="elsewhere").label.endswith(", and in 3 more")


def test_a_message_that_is_too_long_says_what_to_do(served: AppTest, broker: BrokerProcess) -> None:
    with ChatClient("bob", broker.address, events=False):
        wait_for(connect(served, "alice"), ConnectionState.ONLINE)
        served.radio(key="suite").set_value(Suite.CHUNKED).run()
        send(served, "x" * 9000)
        assert "chunked messages hold at most 8172 bytes of text." in text(served)
        assert "Use the hybrid suite, or send it as a file." in text(served)
        served.radio(key="suite").set_value(Suite.HYBRID).run()
        send(served, "x" * 9000)
        assert "hold at most" not in text(served)


def test_a_name_that_is_refused_at_once_is_said_under_it_on_the_form(served: AppTest, broker: BrokerProcess) -> None:
    with ChatClient("bob", broker.address, events=False):
        connect(served, "bob")
        assert "chat" not in served.session_state
        assert text(served).count("The name &#x27;bob&#x27; is in use by somebody else, or belongs to a profile.") == 1
        assert "Take another name. If it is your profile: choose Profile." in text(served)
        assert "--profile" not in text(served)
        assert served.text_input(key="name").value == "bob"
        wait_for(connect(served, "dave"), ConnectionState.ONLINE)
        assert "in use by somebody else" not in text(served)


def test_a_refused_name_can_be_changed_and_what_waited_goes_out(
    served: AppTest, broker: BrokerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_connect, "_FIRST_ANSWER", 0.0)
    with ChatClient("bob", broker.address) as bob, ChatClient("carol", broker.address, events=False):
        connect(served, "bob")
        chat_of(served).client.send("written too early", "carol")
        wait_for(served, ConnectionState.REFUSED)
        send(served, "is it me?")
        assert text(served).count("The name &#x27;bob&#x27; is in use by somebody else, or belongs to a profile.") == 1
        assert "connect above first. What you wrote stays below." in text(served)
        assert "--profile" not in text(served)
        assert "Nothing has been said yet." not in text(served)
        refused = chat_of(served).client
        assert refused.timeline("carol")[-1].text == "written too early"
        connect(served, "dave")
        wait_for(served, ConnectionState.ONLINE)
        assert chat_of(served).client is not refused
        assert refused.status.state is ConnectionState.CLOSED
        line = chat_of(served).client.timeline("carol")[-1]
        assert line.text == "written too early"
        assert bob.status.state is ConnectionState.ONLINE


def test_a_message_that_found_nobody_can_be_sent_again(served: AppTest, broker: BrokerProcess) -> None:
    wait_for(connect(served, "alice"), ConnectionState.ONLINE)
    chat_of(served).open("erin")
    served.run()
    assert "erin is not here." in text(served)
    served.chat_input(key="write-1").set_value("are you there?").run()
    client = chat_of(served).client
    until(lambda: client.timeline("erin")[-1].outcomes["erin"].final)
    served.run()
    assert "✗ was not here" in text(served)
    assert not [button for button in served.button if button.key == "again"]
    with ChatClient("erin", broker.address, events=False) as erin:
        until(lambda: any(peer.user == "erin" for peer in client.users()))
        served.run()
        served.button(key="again").click().run()
        until(lambda: erin.timeline("alice"))
        assert [line.text for line in erin.timeline("alice")] == ["are you there?"]
        served.run()
        assert not [button for button in served.button if button.key == "again"]


def test_many_people_are_found_by_name(served: AppTest, broker: BrokerProcess) -> None:
    crowd = [ChatClient(f"guest{number:02}", broker.address, events=False) for number in range(45)]
    try:
        for one in crowd:
            one.start()
        for one in crowd:
            one.wait_ready(30)
        wait_for(connect(served, "alice"), ConnectionState.ONLINE)
        until(lambda: len(chat_of(served).client.users()) == 45)
        served.run()
        assert len([button for button in served.button if (button.key or "").startswith("to-guest")]) == 40
        served.selectbox[0].select("guest44").run()
        assert chat_of(served).current == "guest44"
        assert served.selectbox[0].value is None
        assert served.chat_input(key="write-1").placeholder == "Message guest44"
    finally:
        for one in crowd:
            one.close()


def test_a_page_that_others_can_open_says_so(lonely: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    from streamlit import config

    assert "listens" not in text(lonely)
    before = config.get_option("server.address")
    try:
        config.set_option("server.address", "0.0.0.0")
        lonely.run()
        assert "This page listens on 0.0.0.0." in text(lonely)
    finally:
        config.set_option("server.address", before)


def test_a_guest_whose_tab_was_away_too_long_can_come_back(served: AppTest) -> None:
    wait_for(connect(served, "alice"), ConnectionState.ONLINE)
    DEPARTURES.close(chat_of(served).client)
    served.run()
    assert "This guest has left." in text(served)
    connect(served, "alice")
    wait_for(served, ConnectionState.ONLINE)
    assert "This guest has left." not in text(served)


def test_who_comes_back_in_time_stays_and_who_does_not_is_closed() -> None:
    departures = Departures(grace=0.2)
    back, gone, ended = (ChatClient(name, BrokerAddress.parse(NOWHERE), events=False) for name in ("back", "gone", "ended"))
    for client in (back, gone, ended):
        client.start()
        departures.stay(client)
    departures.leave(back)
    departures.stay(back)
    departures.close(ended)
    departures.leave(ended)  # its session ends later than itself
    departures.leave(gone)
    departures.leave(gone)
    until(lambda: gone.status.state is ConnectionState.CLOSED)
    assert not has_ended(back.status)
    departures.leave(back)
    departures.make_room("somebody else")
    departures.make_room("back")
    assert has_ended(back.status)


def test_the_servers_end_waits_for_those_who_are_just_being_closed() -> None:
    departures = Departures(0.01)
    client = ChatClient("gone", BrokerAddress.parse(NOWHERE), events=False)
    done: list[str] = []
    ending, go_on = threading.Event(), threading.Event()

    class Tied:
        def begin_close(self) -> None:
            done.append("begun")

        def close(self) -> None:
            ending.set()
            go_on.wait(10)
            done.append("ended")

    departures.tie(client, Tied())
    departures.stay(client)
    departures.leave(client)
    assert ending.wait(10)
    threading.Timer(0.1, go_on.set).start()
    departures.close_all()
    assert done == ["begun", "ended"]
    assert client.status.state is ConnectionState.CLOSED


def test_the_servers_end_does_not_wait_for_one_after_the_other() -> None:
    said: list[str] = []

    class Noting(ChatClient):
        def begin_close(self) -> None:
            said.append("begin")
            super().begin_close()

        def close(self) -> None:
            said.append("close")
            super().close()

    departures = Departures(10)
    for name in ("one", "two", "three"):
        departures.stay(Noting(name, BrokerAddress.parse(NOWHERE), events=False))
    departures.close_all()
    assert said == [*["begin"] * 3, *["close"] * 3]


def test_nothing_is_drawn_anew_while_nothing_changed(served: AppTest, broker: BrokerProcess) -> None:
    with ChatClient("bob", broker.address, events=False) as bob:
        wait_for(connect(served, "alice"), ConnectionState.ONLINE)
        bob.send("one", "alice")
        until(lambda: chat_of(served).client.timeline("bob"))
        chat_of(served).open("bob")
        served.run()
        drawn = chat_of(served).drawn
        assert "one" in str(drawn[1][0])
        served.run()
        assert chat_of(served).drawn is drawn
        bob.send("two", "alice")
        until(lambda: len(chat_of(served).client.timeline("bob")) == 2)
        served.run()
        assert chat_of(served).drawn is not drawn


def test_the_page_is_told_to_stay_on_this_machine() -> None:
    import tomllib

    settings = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())
    assert settings["server"]["address"] == "127.0.0.1"
    assert settings["server"]["enableXsrfProtection"] is True
    assert settings["browser"]["gatherUsageStats"] is False
    assert BrokerAddress.parse(NOWHERE).port == 9


def test_what_was_said_is_found_again_and_shown_where_it_was_said(served: AppTest, broker: BrokerProcess) -> None:
    with ChatClient("bob", broker.address, events=False) as bob:
        client = chat_of(wait_for(connect(served, "alice"), ConnectionState.ONLINE)).client
        until(lambda: "alice" in [peer.user for peer in bob.users()])
        for number in range(70):
            bob.send(f"line {number} <b>", "alice")
        bob.send("to all: a Backup", EVERYONE)
        until(lambda: len(client.timeline("bob")) == 70 and len(client.timeline(EVERYONE)) > 0)
        search_field(served).input("LINE 3 ").run()
        assert "“LINE 3”" in text(served)
        assert "11 messages" in text(served)
        assert "line 39 &lt;b&gt;" in text(served)
        assert chat_of(served).unread == {"bob": 70}

        search_field(served).input("line 7 <b>").run()
        assert "1 message<" in text(served)
        next(button for button in served.button if button.label == "Show in bob").click().run()
        chat = chat_of(served)
        assert (chat.current, chat.search) == ("bob", None)
        assert f'id="line-{chat.goto}"' in text(served)
        assert "line 7 &lt;b&gt;" in text(served)
        assert search_field(served).value == ""

        search_field(served).input("never said").run()
        assert "Nothing in what was said since you connected contains this." in text(served)
        served.button(key="found-back").click().run()
        assert "line 69" in text(served)


def test_whoever_is_in_no_list_is_written_to_by_name(served: AppTest, broker: BrokerProcess) -> None:
    client = chat_of(wait_for(connect(served, "alice"), ConnectionState.ONLINE)).client
    search_field(served).input("Hello there").run()
    assert "name-found" not in {button.key for button in served.button}
    search_field(served).input(" Walter ").run()
    assert served.button(key="name-found").label == "Write to walter"
    served.button(key="name-found").click().run()
    assert (chat_of(served).current, chat_of(served).search) == ("walter", None)
    assert "If walter is a profile, the broker keeps what you write until they come." in text(served)
    served.chat_input(key="write-1").set_value("are you there?").run()
    until(lambda: client.timeline("walter")[-1].outcomes["walter"].final)
    for known in ("walter", "alice", EVERYONE):
        search_field(served).input(known).run()
        assert "name-found" not in {button.key for button in served.button}
