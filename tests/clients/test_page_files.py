"""Files that the page sends and fetches: its transfers, and what is drawn of them, without a browser."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from streamlit.testing.v1 import AppTest

from clients import transfers as module
from clients.chat import ChatClient
from clients.chronicle import ConnectionState
from clients.files import Progress
from clients.page_files import secret_name
from clients.tickets import Ticket
from clients.transfers import FILE_MAX, Transfers
from clients.under_way import SessionEnded, TransferState, Upload
from core.bundle import Suite
from core.content import File
from core.errors import BrokerUnreachable, FileGone, FileUnwritable, KeyChanged, NobodyHere, SecureChatError
from core.events import MessageReceived
from core.names import EVERYONE
from tests.broker_process import ROOT, BrokerProcess
from tests.clients.pages import chat_of, connect, send, text, wait_for
from tests.net import until


def file(name: str = "a.bin", size: int = 4, blob: int = 1, key: int = 2) -> File:
    return File(name, size, bytes(32), bytes([key]) * 32, bytes([blob]) * 16)


class FakeClient:
    """A client whose files go nowhere; ``trouble`` is raised instead, once each."""

    def __init__(self) -> None:
        self.kid = bytes(32)
        self.status = SimpleNamespace(state=ConnectionState.ONLINE)
        self.files = self
        self.others = self
        self.trouble: list[SecureChatError] = []
        self.distrusted: SecureChatError | None = None
        self.peers: tuple[str, ...] = ("bob",)
        self.paths: list[Path] = []
        self.read: list[bytes] = []
        self.sent: list[tuple[File, str]] = []
        self.known: list[str] = []
        self.given_up: list[str] = []
        self.tickets: list[Ticket] = []
        self.held = threading.Event()
        self.held.set()

    def give_up(self, known_as: str) -> None:
        self.given_up.append(known_as)

    def unfinished(self) -> list[Ticket]:
        return self.tickets

    def audience(self) -> tuple[str, ...]:
        return self.peers

    def check(self, user: str) -> None:
        if self.distrusted and user == "bob":
            raise self.distrusted

    def upload(self, path: Path, progress: Progress, *, known_as: str) -> File:
        self.paths.append(path)
        self.known.append(known_as)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.parent.stat().st_mode) == 0o700
        self._go(progress)
        self.read.append(path.read_bytes())
        return file(path.name, path.stat().st_size)

    def download(self, wanted: File, folder: Path, progress: Progress) -> Path:
        self.paths.append(folder / wanted.name)
        self._go(progress)
        self.paths[-1].write_bytes(b"x" * wanted.size)
        return self.paths[-1]

    def _go(self, progress: Progress) -> None:
        progress(1, 4)
        self.held.wait(10)
        progress(2, 4)
        if self.trouble:
            raise self.trouble.pop(0)

    def send(self, what: File, to: str, *, suite: Suite) -> None:
        assert suite is Suite.HYBRID
        self.sent.append((what, to))


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return FakeClient()


@pytest.fixture
def carried(client: FakeClient) -> Iterator[Transfers]:
    transfers = Transfers(cast("ChatClient", client))
    yield transfers
    client.held.set()
    transfers.close()


def attach(carried: Transfers, name: str = "a.bin", content: bytes = b"data", to: str = "bob") -> Upload:
    return carried.attach(name, io.BytesIO(content), to, Suite.HYBRID)


def settled(upload: Upload) -> TransferState:
    until(lambda: not upload.active)
    return upload.state


def test_a_file_is_uploaded_from_a_private_copy_that_is_gone_afterwards(carried: Transfers, client: FakeClient) -> None:
    assert settled(attach(carried, "Größe.bin")) is TransferState.DONE
    assert client.sent == [(file("Größe.bin"), "bob")]
    assert client.read == [b"data"]
    assert [path.name for path in client.paths] == ["Größe.bin"]
    assert not client.paths[0].parent.exists()
    assert carried.uploads() == ()
    assert not carried.busy


def test_files_are_sent_in_the_order_in_which_they_were_attached(carried: Transfers, client: FakeClient) -> None:
    client.held.clear()
    uploads = [attach(carried, f"{number}.txt") for number in range(5)]
    until(lambda: uploads[0].share == 25)
    assert "25 %" in uploads[0].text()
    assert uploads[1].text() == "waiting …"
    assert carried.busy
    client.held.set()
    assert [settled(upload) for upload in uploads] == [TransferState.DONE] * 5
    assert [sent.name for sent, _ in client.sent] == ["0.txt", "1.txt", "2.txt", "3.txt", "4.txt"]


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\\b", " a", "a\u202eb", "x" * 256])
def test_what_is_no_name_is_refused_before_anything_is_written(carried: Transfers, client: FakeClient, name: str) -> None:
    upload = attach(carried, name)
    assert upload.state is TransferState.FAILED
    assert "cannot be a file's name here" in upload.why
    assert not upload.repeatable
    assert client.paths == []
    carried.dismiss(upload)
    assert carried.uploads() == ()


def test_an_upload_that_failed_goes_on_with_the_same_copy(carried: Transfers, client: FakeClient) -> None:
    client.trouble = [BrokerUnreachable(where="here", why="nothing answers")]
    upload = attach(carried)
    assert settled(upload) is TransferState.FAILED
    assert upload.why == "The broker at here cannot be reached: nothing answers."
    assert carried.uploads() == (upload,)
    carried.try_again(upload)
    assert settled(upload) is TransferState.DONE
    assert client.paths[0] == client.paths[1]
    assert not client.paths[0].parent.exists()


def test_an_upload_that_failed_is_dismissed_with_its_copy(carried: Transfers, client: FakeClient) -> None:
    client.trouble = [BrokerUnreachable(where="here", why="nothing answers")]
    upload = attach(carried)
    assert settled(upload) is TransferState.FAILED
    assert client.paths[0].exists()
    carried.give_up(upload)
    assert not client.paths[0].parent.exists()
    until(lambda: client.given_up == client.known)


def test_an_upload_is_stopped_and_goes_on_when_asked(carried: Transfers, client: FakeClient) -> None:
    client.held.clear()
    first, second = attach(carried), attach(carried, "b.bin")
    until(lambda: first.share > 0)
    carried.stop(first)
    carried.stop(second)
    assert [upload.state for upload in (first, second)] == [TransferState.FAILED] * 2
    assert first.why == "You stopped it, so nothing was sent."
    assert first.left == "1 B of 4 B are at the broker already."
    assert second.left == ""
    client.held.set()
    until(lambda: not carried.busy)
    carried.try_again(first)
    assert settled(first) is TransferState.DONE
    assert [sent.name for sent, _ in client.sent] == ["a.bin"]
    assert second.state is TransferState.FAILED
    assert client.known[0] == client.known[1]


def test_a_stopped_upload_that_is_tried_again_at_once_is_sent_once(carried: Transfers, client: FakeClient) -> None:
    client.held.clear()
    upload = attach(carried)
    until(lambda: upload.share > 0)
    carried.stop(upload)
    carried.try_again(upload)
    client.held.set()
    assert settled(upload) is TransferState.DONE
    assert len(client.sent) == 1


def test_a_file_is_known_by_its_content_when_it_is_attached_again(carried: Transfers, client: FakeClient) -> None:
    for name, content in (("a.bin", b"data"), ("a.bin", b"data"), ("a.bin", b"other"), ("b.bin", b"data")):
        assert settled(attach(carried, name, content)) is TransferState.DONE
    assert client.known[0] == client.known[1]
    assert len(set(client.known)) == 3


def test_what_is_left_of_an_earlier_session_is_told_until_it_is_attached_or_forgotten(
    carried: Transfers, client: FakeClient
) -> None:
    assert settled(attach(carried)) is TransferState.DONE
    begun, other = client.known[0], "attached:00/b.bin"
    client.tickets = [Ticket(path, 4, 0, bytes(16), bytes(32)) for path in (begun, other, "/from/a/terminal")]
    after = Transfers(cast("ChatClient", client))
    assert [ticket.path for ticket in after.left()] == [begun, other]
    client.tickets, others = client.tickets[:1], client.tickets  # the other one is under way elsewhere
    assert [ticket.path for ticket in after.left()] == [begun]
    client.tickets = others
    assert settled(attach(after)) is TransferState.DONE
    (left,) = after.left()
    after.forget(left)
    assert after.left() == ()
    until(lambda: client.given_up == [other])
    after.close()


def test_nothing_is_sent_to_a_key_that_changed_meanwhile_and_nothing_uploaded_twice(
    carried: Transfers, client: FakeClient
) -> None:
    client.held.clear()
    upload = attach(carried)
    until(lambda: upload.share > 0)
    client.distrusted = KeyChanged(user="bob")
    client.held.set()
    assert settled(upload) is TransferState.FAILED
    assert client.sent == []
    client.distrusted = None
    carried.try_again(upload)
    assert settled(upload) is TransferState.DONE
    assert len(client.read) == 1


def test_nothing_is_uploaded_for_nobody(carried: Transfers, client: FakeClient) -> None:
    client.peers = ()
    upload = attach(carried, to=EVERYONE)
    assert settled(upload) is TransferState.FAILED
    assert isinstance(upload.error, NobodyHere)
    assert client.paths == []


def test_a_file_is_fetched_and_leaves_nothing_on_disk(carried: Transfers, client: FakeClient) -> None:
    wanted = file()
    assert carried.download(wanted) is None
    carried.fetch(wanted)
    found = carried.download(wanted)
    assert found
    until(lambda: not found.active)
    assert found.data == b"xxxx"
    assert not client.paths[0].parent.exists()
    carried.fetch(wanted)
    assert len(client.paths) == 1
    assert carried.download(file(key=9)) is None  # the same blob, but nothing of what opens it


def test_what_could_not_be_fetched_is_fetched_again_when_asked(carried: Transfers, client: FakeClient) -> None:
    client.trouble = [FileGone(name="a.png")]
    wanted = file("a.png")
    carried.fetch(wanted, asked=False)
    first = carried.download(wanted)
    assert first
    until(lambda: not first.active)
    assert first.why == "The broker does not have a.png, or no longer."
    carried.fetch(wanted, asked=False)
    assert carried.download(wanted) is first
    carried.fetch(wanted)
    until(lambda: bool((found := carried.download(wanted)) and found.data))


def test_what_is_being_fetched_is_stopped_and_fetched_when_asked_again(carried: Transfers, client: FakeClient) -> None:
    client.held.clear()
    first, second = file(), file(blob=5)
    for wanted in (first, second):
        carried.fetch(wanted)
    until(lambda: bool(client.paths))
    for wanted in (first, second):
        carried.stop_fetching(wanted)
        assert carried.download(wanted) is None
    client.held.set()
    carried.fetch(second)
    until(lambda: bool((found := carried.download(second)) and found.data))
    assert carried.download(first) is None
    assert len(client.paths) == 2  # the one that had not begun was fetched once
    assert not any(path.parent.exists() for path in client.paths)


def test_no_path_of_this_machine_is_told(carried: Transfers, client: FakeClient) -> None:
    client.trouble = [FileUnwritable(name="/tmp/securechat-page-x/y/a.bin.part", why="No space left on device")]
    carried.fetch(file())
    found = carried.download(file())
    assert found
    until(lambda: not found.active)
    assert found.why.startswith("a.bin cannot be written: No space left on device.")


def test_so_much_is_fetched_unasked_and_no_more(
    carried: Transfers, client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "UNASKED_MAX", 10)
    for number in range(4):
        carried.fetch(file(blob=number), asked=False)
    until(lambda: not carried.busy)
    assert [carried.download(file(blob=number)) is not None for number in range(4)] == [True, True, False, False]
    carried.fetch(file(blob=3))
    assert carried.download(file(blob=3))


def test_what_was_fetched_first_is_forgotten_first(
    carried: Transfers, client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT_MAX", 10)
    for number in range(3):
        carried.fetch(file(blob=number))
    until(lambda: not carried.busy)
    assert [carried.download(file(blob=number)) is not None for number in range(3)] == [False, True, True]


def test_ones_own_picture_is_here_already(carried: Transfers) -> None:
    assert settled(attach(carried, "a.png")) is TransferState.DONE
    found = carried.download(file("a.png"))
    assert found
    assert found.data == b"data"


def test_the_end_stops_what_is_under_way_and_removes_the_folder(carried: Transfers, client: FakeClient, tmp_path: Path) -> None:
    client.held.clear()
    attach(carried)
    carried.fetch(file())
    until(lambda: len(client.paths) == 2)
    threading.Timer(0.1, client.held.set).start()
    carried.close()
    assert list(tmp_path.iterdir()) == []
    assert client.sent == []
    assert carried.uploads() == ()
    carried.fetch(file(blob=7))
    assert carried.download(file(blob=7)) is None


def test_what_is_attached_after_the_end_is_sent_by_the_next_session(carried: Transfers, client: FakeClient) -> None:
    carried.close()
    upload = attach(carried)
    assert isinstance(upload.error, SessionEnded)
    carried.try_again(upload)
    assert upload.state is TransferState.FAILED
    after = Transfers(cast("ChatClient", client))
    after.take_on(carried)
    until(lambda: len(client.sent) == 1)
    until(lambda: not after.busy)
    after.close()


def test_what_failed_still_stands_there_in_the_next_session(carried: Transfers, client: FakeClient) -> None:
    client.trouble = [BrokerUnreachable(where="here", why="nothing answers")]
    assert settled(attach(carried)) is TransferState.FAILED
    after = Transfers(cast("ChatClient", client))
    after.take_on(carried)
    (held,) = after.uploads()
    assert held.state is TransferState.FAILED
    after.try_again(held)
    assert settled(held) is TransferState.DONE
    after.close()


# On the page


def test_nobody_else_can_tell_under_which_name_a_file_is_kept() -> None:
    other = File("a.bin", 4, bytes(31) + b"1", bytes(32), bytes(16))
    assert secret_name(file("a.bin")) == secret_name(file("b.bin", blob=7, key=8))
    assert secret_name(file()) != secret_name(other)
    code = "from tests.clients import test_page_files as own; print(own.secret_name(own.file()))"  # in another process
    command = [sys.executable, "-c", code]
    elsewhere = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    assert len(elsewhere) == len(secret_name(file()))
    assert elsewhere != secret_name(file())


@pytest.fixture
def with_bob(served: AppTest, broker: BrokerProcess) -> Iterator[ChatClient]:
    with ChatClient("bob", broker.address) as bob:
        wait_for(connect(served, "alice"), ConnectionState.ONLINE)
        chat_of(served).open("bob")
        served.run()
        yield bob


def shows(app: AppTest, part: str) -> Callable[[], bool]:
    return lambda: part in text(app.run())


def test_a_file_is_sent_and_shown_as_a_card(served: AppTest, with_bob: ChatClient, tmp_path: Path) -> None:
    served.chat_input(key="write-1").set_value("look").upload("a <b>.bin", b"12345").run()
    until(shows(served, "<b>a &lt;b&gt;.bin</b>"))
    contents = (event.message.content for event in with_bob.events(30) if isinstance(event, MessageReceived))
    first, second = next(contents), next(contents)
    assert not isinstance(first, File)
    assert isinstance(second, File)
    assert with_bob.files.download(second, tmp_path).read_bytes() == b"12345"
    assert "[file]" not in text(served)
    until(lambda: bool([button for button in served.run().button if button.label == "Get"]))


def test_a_lost_file_says_so_in_its_card(served: AppTest, with_bob: ChatClient) -> None:
    with_bob.send(File("lost <i>.pdf", 10, bytes(32), bytes(32), os.urandom(16)), "alice")
    until(lambda: bool([button for button in served.run().button if button.label == "Get"]))
    next(button for button in served.button if button.label == "Get").click().run()
    until(shows(served, "The broker does not have lost &lt;i&gt;.pdf, or no longer."))
    assert not [button for button in served.button if button.label == "Try again"]  # it would be gone again


def test_what_is_being_fetched_has_a_button_that_stops_it(
    served: AppTest, with_bob: ChatClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(Transfers, "_wait_for_keys", lambda _: go_on.wait(30))
    with_bob.send(File("slow.pdf", 10, bytes(32), bytes(32), os.urandom(16)), "alice")
    until(lambda: bool([button for button in served.run().button if button.label == "Get"]))
    next(button for button in served.button if button.label == "Get").click().run()
    next(button for button in served.button if button.label == "Stop").click().run()
    assert [button for button in served.button if button.label == "Get"]
    go_on.set()


def test_what_is_too_big_for_a_browser_says_what_fetches_it(served: AppTest, with_bob: ChatClient) -> None:
    with_bob.send(File("huge.iso", FILE_MAX + 1, bytes(32), bytes(32), os.urandom(16)), "alice")
    until(shows(served, "It is too big for a browser. The command line fetches such files as they come"))


def test_a_picture_of_a_guest_with_a_new_key_is_not_fetched_unasked(
    served: AppTest, with_bob: ChatClient, broker: BrokerProcess
) -> None:
    pictures = [File(name, 10, bytes(32), bytes(32), os.urandom(16)) for name in ("first.png", "second.png")]
    client = chat_of(served).client
    with_bob.send(pictures[0], "alice")
    until(lambda: len(client.timeline("bob")) == 1)
    with_bob.close()
    until(lambda: not client.users())
    with ChatClient("bob", broker.address, events=False) as again:
        again.send(pictures[1], "alice")
        until(lambda: any(line.file == pictures[1] for line in client.timeline("bob")))
        served.run()
        assert "a guest with a new key" in text(served)
        assert chat_of(served).transfers.download(pictures[1]) is None
        assert [button for button in served.button if button.label == "Get"]


def test_a_picture_of_somebody_who_is_blocked_is_not_fetched_unasked(served: AppTest, with_bob: ChatClient) -> None:
    others = chat_of(served).client.others
    assert others
    picture = File("p.png", 10, bytes(32), bytes(32), os.urandom(16))
    with_bob.send(picture, "alice")
    client = chat_of(served).client
    until(lambda: bool(client.timeline("bob")))
    others.block("bob")
    served.run()
    assert chat_of(served).transfers.download(picture) is None
    others.trust(others.pin("bob"))
    served.run()
    assert chat_of(served).transfers.download(picture) is not None


def test_files_of_a_refused_text_wait_with_its_reason(served: AppTest) -> None:
    wait_for(connect(served, "alice"), ConnectionState.ONLINE)
    send(served, "anybody?")
    served.chat_input(key="write-0").set_value("anybody?").upload("plan.txt", b"x").run()
    assert "<b>plan.txt</b>" in text(served)
    (upload,) = chat_of(served).transfers.uploads()
    assert isinstance(upload.error, NobodyHere)
    next(button for button in served.button if button.label == "Dismiss").click().run()
    assert "plan.txt" not in text(served)


def test_whoever_leaves_leaves_nothing_behind(
    served: AppTest, with_bob: ChatClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with_bob.send(File("lost.pdf", 10, bytes(32), bytes(32), os.urandom(16)), "alice")
    until(lambda: bool([button for button in served.run().button if button.label == "Get"]))
    next(button for button in served.button if button.label == "Get").click().run()
    until(shows(served, "The broker does not have lost.pdf"))
    carried = chat_of(served).transfers
    assert [path.name.startswith("securechat-page-") for path in tmp_path.iterdir()] == [True]
    served.button(key="leave").click().run()
    assert list(tmp_path.iterdir()) == []
    assert isinstance(attach(carried).error, SessionEnded)
