"""The page's way into a profile: unlocking one, making one, and what keeps either from happening."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from clients import finding
from clients.chat import ChatClient
from clients.chronicle import ConnectionState
from clients.keystore import Keystore
from clients.page_state import DEPARTURES
from clients.profiles import OpenProfile
from clients.timeline import Line, LineKind
from core.bundle import Suite
from core.content import Content, File, Text
from core.errors import StoreFailed
from core.events import Message, MessageReceived, Trust
from core.names import EVERYONE
from core.order import Place
from core.profile import Profile
from tests.broker_process import BrokerProcess, admin, cli, environment
from tests.clients.pages import NOWHERE, chat_of, connect, new_page, page, search_field, send, text, wait_for
from tests.keys import keys_of
from tests.net import until

SECRET = "open sesame"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settle: Callable[[dict[str, str]], None]) -> Iterator[Path]:
    """Where the page looks for profiles; no broker runs there."""
    settle(environment(tmp_path))
    monkeypatch.setenv("SECURECHAT_HOME", str(tmp_path / "profiles-home"))
    yield tmp_path / "profiles-home"
    DEPARTURES.close_all()


@pytest.fixture
def near(home: Path, monkeypatch: pytest.MonkeyPatch, broker: BrokerProcess) -> Path:
    """The same, beside a running broker."""
    for name in ("HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, broker.env[name])
    return home


def a_profile(home: Path, name: str, passphrase: str | None = None) -> Path:
    """Make a profile; returns its keystore."""
    keys = keys_of("alice")
    now = time.time()
    store = Keystore(home, name)
    store.create(
        Profile.create(name, keys.signing, keys.opening, name.encode().ljust(32, b"k"), now=now, random=bytes), passphrase
    )
    return store.folder / "keystore"


def profile_view(app: AppTest) -> AppTest:
    return app.segmented_control(key="who").set_value("Profile").run()


def press(app: AppTest, label: str) -> AppTest:
    return next(button for button in app.button if button.label == label).click().run()


def unlock(app: AppTest, passphrase: str | None = None) -> AppTest:
    if passphrase is not None:
        app.text_input(key="passphrase").input(passphrase)
    return press(app, "Unlock")


def make(app: AppTest, name: str, first: str = "", second: str = "") -> AppTest:
    app.text_input(key="new_name").input(name)
    app.text_input(key="new_passphrase").input(first)
    app.text_input(key="new_passphrase_again").input(second)
    return press(app, "Make profile")


def fields(app: AppTest) -> set[str | None]:
    return {one.key for one in app.text_input}


def kept(app: AppTest) -> str:
    """All that the session's state holds."""
    state = repr(app.session_state)
    assert "'who': 'Profile'" in state or "'chat'" in state
    return state


def messages(client: ChatClient) -> list[Line]:
    return [line for line in client.timeline(EVERYONE) if line.kind is LineKind.MESSAGE]


def test_a_guest_needs_no_step_more_though_there_are_profiles(near: Path, broker: BrokerProcess) -> None:
    a_profile(near, "page-idle", SECRET)
    app = page()
    assert fields(app) == {"name", "broker"}
    app.text_input(key="name").input("page-guest")
    wait_for(press(app, "Connect"), ConnectionState.ONLINE)
    assert "connected · guest" in text(app)


def test_without_profiles_it_says_how_to_make_one(home: Path) -> None:
    app = profile_view(page())
    assert fields(app) == {"new_name", "new_broker", "new_passphrase", "new_passphrase_again"}
    assert "securechat-cli init NAME" in text(app)
    assert not home.exists()


def test_a_profile_is_unlocked_with_its_passphrase_and_chats_under_its_name(near: Path, broker: BrokerProcess) -> None:
    a_profile(near, "page-locked", SECRET)
    app = profile_view(page())
    wait_for(unlock(app, SECRET), ConnectionState.ONLINE)
    assert "connected · profile" in text(app)
    assert SECRET not in kept(app)
    chat = chat_of(app)
    assert chat.client.user == "page-locked"
    assert app.query_params["profile"] == "page-locked"
    with ChatClient("page-friend", broker.address, events=False) as friend:
        until(chat.client.users)
        send(app.run(), "hello")
        until(lambda: messages(friend))
        assert [(line.sender, line.text) for line in messages(friend)] == [("page-locked", "hello")]
    press(app, "Lock")
    assert "chat" not in app.session_state
    assert app.selectbox(key="profile").value == "page-locked"
    assert "passphrase" in fields(app)
    with pytest.raises(StoreFailed):
        chat.client.profile and chat.client.profile.store.pins()  # its database is closed, too


def test_what_was_read_stays_read_when_a_profile_is_unlocked_again(near: Path, broker: BrokerProcess) -> None:
    a_profile(near, "read1", SECRET)
    app = unlock(profile_view(page()), SECRET)
    wait_for(app, ConnectionState.ONLINE)
    with ChatClient("bob", broker.address, events=False) as bob:
        bob.send("the first", "read1")
        until(lambda: len(chat_of(app).client.timeline("bob")) == 1)
        app.run()
        assert chat_of(app).unread == {"bob": 1}
        chat_of(app).open("bob")
        app.run()
        assert chat_of(app).unread == {}
        app.button(key="leave").click().run()
        unlock(app, SECRET)
        wait_for(app, ConnectionState.ONLINE)
        assert len(chat_of(app).client.timeline("bob")) == 1
        assert chat_of(app).unread == {}
        bob.send("the second", "read1")
        until(lambda: len([line for line in chat_of(app).client.timeline("bob") if line.kind is LineKind.MESSAGE]) == 2)
        app.run()
        assert chat_of(app).unread == {"bob": 1}


def test_one_without_a_passphrase_asks_for_none(near: Path) -> None:
    a_profile(near, "page-open")
    app = profile_view(page())
    assert "passphrase" not in fields(app)
    wait_for(unlock(app), ConnectionState.ONLINE)
    assert chat_of(app).client.user == "page-open"


@pytest.mark.parametrize("typed", ["", "Open sesame", SECRET + " "])
def test_a_wrong_passphrase_is_said_and_kept_nowhere(near: Path, typed: str, caplog: pytest.LogCaptureFixture) -> None:
    keystore = a_profile(near, "alice", SECRET)
    before = keystore.read_bytes()
    app = unlock(profile_view(page()), typed)
    assert ("not the profile&#x27;s passphrase" if typed else "This profile has a passphrase") in text(app)
    assert "--passphrase-file" not in text(app)  # advice for the command line
    assert app.text_input(key="passphrase").value == ""
    assert "sesame" not in kept(app) + caplog.text + text(app)
    assert "chat" not in app.session_state
    assert keystore.read_bytes() == before
    assert {path.name for path in keystore.parent.iterdir()} == {"keystore", "lock"}


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def corrupt(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def expose(path: Path) -> None:
    path.chmod(0o644)


@pytest.mark.parametrize(
    ("harm", "passphrase", "sentence"),
    [
        (truncate, None, "The keystore is damaged, so it was not used; it was left as it is."),
        (truncate, SECRET, "The keystore is damaged, so it was not used; it was left as it is."),
        (empty, SECRET, "The keystore is damaged, so it was not used; it was left as it is."),
        (corrupt, None, "The keystore is damaged, so it was not used; it was left as it is."),
        (corrupt, SECRET, "That is not the profile&#x27;s passphrase, or its keystore is damaged; it was left as it is."),
        (expose, SECRET, "is not used: other users can get at it."),
    ],
)
def test_a_keystore_that_is_no_good_is_said_and_left_as_it_is(
    near: Path, harm: Callable[[Path], None], passphrase: str | None, sentence: str
) -> None:
    keystore = a_profile(near, "alice", passphrase)
    harm(keystore)
    before, mode = keystore.read_bytes(), keystore.stat().st_mode
    app = profile_view(page())
    asked = "passphrase" in fields(app)
    unlock(app, SECRET if asked else None)
    assert sentence in text(app)
    assert "chat" not in app.session_state
    assert (keystore.read_bytes(), keystore.stat().st_mode) == (before, mode)


def test_a_folder_whose_name_is_none_is_not_offered(near: Path) -> None:
    a_profile(near, "alice").parent.rename(near / "profiles" / "Not A Name")
    app = profile_view(page())
    assert fields(app) == {"new_name", "new_broker", "new_passphrase", "new_passphrase_again"}
    a_profile(near, "bob")
    assert app.run().selectbox(key="profile").options == ["bob"]


def test_a_profile_is_made_its_name_claimed_and_used_at_once(near: Path, broker: BrokerProcess) -> None:
    app = make(profile_view(page()), " Page-New ", SECRET, SECRET)
    wait_for(app, ConnectionState.ONLINE)
    assert chat_of(app).client.user == "page-new"
    assert SECRET not in kept(app)
    with closing(OpenProfile(near, "page-new", SECRET)) as made:
        assert made.broker == broker.address
    taken = cli({**broker.env, "SECURECHAT_HOME": str(near / "other")}, "init", "page-new")
    assert taken.code == 6


@pytest.mark.parametrize(
    ("name", "second", "sentence"),
    [
        ("page-typo", "open sesamy", "The two passphrases are not the same, so nothing was made."),
        ("everyone", SECRET, "&#x27;everyone&#x27; is not a username."),
        ("", SECRET, "&#x27;&#x27; is not a username."),
        ("page-there", SECRET, "There is a profile &#x27;page-there&#x27; already; it was left as it is."),
    ],
)
def test_what_cannot_be_made_is_said(near: Path, name: str, second: str, sentence: str) -> None:
    keystore = a_profile(near, "page-there")
    before = keystore.read_bytes()
    app = make(profile_view(page()), name, SECRET, second)
    assert sentence in text(app)
    assert "sesam" not in kept(app)
    assert Keystore.names(near) == ["page-there"]
    assert keystore.read_bytes() == before


def test_a_name_that_somebody_has_leaves_nothing_behind(near: Path, broker: BrokerProcess) -> None:
    with ChatClient("page-held", broker.address, events=False):
        app = make(profile_view(page()), "page-held")
        assert "The name &#x27;page-held&#x27; is in use by somebody else, or belongs to a profile." in text(app)
        assert "chat" not in app.session_state
    assert Keystore.names(near) == []
    assert not (near / "profiles" / "page-held").exists()


def test_without_a_broker_a_profile_is_made_and_waits_for_one(home: Path) -> None:
    app = make(profile_view(page()), "later")
    assert "later is made. Its name is claimed when it first connects to a broker." in text(app)
    assert "chat" not in app.session_state
    unlock(app)
    assert "No broker is running on this machine." in text(app)
    assert "--broker" not in text(app)
    app.text_input(key="profile_broker").input(NOWHERE)
    wait_for(unlock(app), ConnectionState.OFFLINE)
    assert chat_of(app).client.broker.url == NOWHERE


def test_a_profile_goes_to_its_own_broker_and_no_other(near: Path, broker: BrokerProcess, tmp_path: Path) -> None:
    a_profile(near, "page-elsewhere")
    with BrokerProcess(tmp_path / "elsewhere", data=tmp_path / "data") as other:
        profile = OpenProfile(near, "page-elsewhere", None)
        with ChatClient(profile, other.address, events=False):
            pass
        profile.close()
        app = profile_view(page())
        app.text_input(key="profile_broker").input(broker.address.url)
        unlock(app)
        assert "is not the one that profile page-elsewhere belongs to" in text(app)
        app.text_input(key="profile_broker").input("")
        wait_for(unlock(app), ConnectionState.ONLINE)
        assert chat_of(app).client.broker == other.address
        DEPARTURES.close_all()


def test_whose_tab_was_away_too_long_unlocks_again_and_goes_on(near: Path) -> None:
    a_profile(near, "page-away", SECRET)
    app = wait_for(unlock(profile_view(page()), SECRET), ConnectionState.ONLINE)
    chat_of(app).open("page-somebody")
    DEPARTURES.close(chat_of(app).client)
    app.run()
    assert "page-away is locked." in text(app)
    unlock(app, "wrong")
    assert "not the profile&#x27;s passphrase" in text(app)
    wait_for(unlock(app, SECRET), ConnectionState.ONLINE)
    assert chat_of(app).current == "page-somebody"
    assert "is locked" not in text(app)


def test_a_reload_shows_what_unlocks_the_same_profile(near: Path) -> None:
    for name in ("page-a", "page-b"):
        a_profile(near, name)
    assert asking_for("page-b").segmented_control(key="who").value == "Profile"
    assert asking_for("page-b").selectbox(key="profile").value == "page-b"
    assert asking_for("page-gone").segmented_control(key="who").value == "Guest"


def asking_for(name: str) -> AppTest:
    """The page at an address that names a profile."""
    app = new_page()
    app.query_params["profile"] = name
    return app.run()


def test_a_profile_searches_all_that_it_keeps(near: Path, broker: BrokerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "FOUND_MAX", 2)
    a_profile(near, "search1")
    with ChatClient("bob", broker.address) as bob:
        first = unlock(profile_view(page()))
        wait_for(first, ConnectionState.ONLINE)
        client = chat_of(first).client
        client.wait_sent(client.send("the key is under the mat", "bob"), 30, stored=False)
        until(lambda: "search1" in [peer.user for peer in bob.users()])
        bob.send("the KEY? thanks", "search1")
        bob.send("key", EVERYONE)
        until(lambda: len(client.timeline(EVERYONE)) > 0)
    first.button(key="leave").click().run()
    later = unlock(first)
    search_field(later).input("key").run()
    search = chat_of(later).search
    assert search
    assert [(found.sender, found.text) for found in search.found] == [("bob", "key"), ("bob", "the KEY? thanks")]
    assert search.more
    assert "the newest" in text(later)
    search_field(later).input("under the").run()
    assert "You <span>to bob" in text(later)


def repeated(to: str, ts: int, content: Content) -> MessageReceived:
    """A message from bob whose id is always the same."""
    kid, id_ = bytes(32), bytes(16)
    return MessageReceived(Message(id_, "bob", kid, (to,), False, ts, Suite.HYBRID, Trust.NEW, content=content, place=Place()))


@pytest.mark.parametrize("later", [0, 33 * 24 * 3600 * 1000], ids=["the same", "after a month"])
def test_an_id_that_comes_again_stops_neither_the_log_nor_a_search(near: Path, later: int) -> None:
    """Who has sent it is free to do so, once it is older than what the replay memory holds."""
    name = f"again-{later > 0}".lower()
    a_profile(near, name)
    now = time.time_ns() // 1_000_000
    contents = (Text("one more"), File("notes.txt", 5, bytes(32), bytes(32), bytes(16)))
    with closing(OpenProfile(near, name, None)) as profile:
        profile.store.history.record((repeated(name, ts, one) for one in contents for ts in (now - later, now)), now)
    app = unlock(profile_view(page()))
    client = chat_of(app).client
    assert len(client.timeline("bob")) == 4
    chat_of(app).open("bob")
    assert text(app.run()).count("one more") == 2
    assert text(app).count("notes.txt") == 2
    search_field(app).input("one more").run()
    assert text(app).count("one more") == 2 + 1  # in the head, too
    show = [button for button in app.button if button.label == "Show in bob"]
    assert len({button.key for button in show}) == 2
    show[-1].click().run()
    assert chat_of(app).goto == client.timeline("bob")[0].key


def test_an_invite_makes_a_profile_and_is_kept_nowhere(near: Path, broker: BrokerProcess) -> None:
    invite = admin(broker.data, broker.env, "invite", "--host", "127.0.0.1").out.strip()
    secret = invite.rpartition("/")[2]
    app = profile_view(page())
    app.text_input(key="new_broker").input(invite)
    make(app, "invited", SECRET, SECRET)
    wait_for(app, ConnectionState.ONLINE)
    assert secret not in kept(app)
    assert chat_of(app).client.broker.invite is None
    app.button(key="leave").click().run()
    assert app.text_input(key="new_broker").value == ""

    guest = connect(page(), "guest", invite)
    assert "This line is an invite." in text(guest)
    assert "chat" not in guest.session_state
