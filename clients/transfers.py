"""Files that one session of the page uploads and fetches, in the background."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Final

from clients.chat import ChatClient
from clients.chronicle import ConnectionState
from clients.pictures import is_picture
from clients.view import progress_parts
from core.bundle import Suite
from core.content import File
from core.errors import BadFileName, FileUnreadable, NobodyHere, SecureChatError
from core.names import EVERYONE, check_file_name

FILE_MAX: Final = 512 * 1024 * 1024  # what is fetched for a browser is held in memory until it is saved
KEPT_MAX: Final = 1024 * 1024 * 1024  # of what was fetched; then the oldest is forgotten
UNASKED_MAX: Final = 256 * 1024 * 1024  # fetched in a session without being asked for: whoever sends has no more memory here
_JOIN: Final = 2.0  # seconds for which the end of a session waits for a transfer to notice


class TransferState(StrEnum):
    """How far a transfer is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class SessionEnded(SecureChatError):
    """This session has ended, so nothing was sent."""

    hint = "Come back first, then try again."


class _Closed(Exception):
    """The session has ended."""


class Transfer:
    """One file on its way. Its thread writes it, and the page reads it."""

    def __init__(self, name: str, size: int) -> None:
        self.name: Final = name
        self.size: Final = size
        self.state = TransferState.WAITING
        self.error: SecureChatError | None = None
        self.done = 0
        self._began: tuple[float, int] | None = None

    @property
    def share(self) -> int:
        """How many percent are done."""
        return 100 * self.done // self.size if self.size else 0

    @property
    def active(self) -> bool:
        """Whether it is under way, or will be."""
        return self.state in (TransferState.WAITING, TransferState.RUNNING)

    @property
    def why(self) -> str:
        """The sentence of what went wrong, without where this program keeps its copy."""
        where = str(self.error.fields.get("name", "")) if self.error else ""
        return str(self.error).replace(where, self.name) if where else str(self.error or "")

    def text(self) -> str:
        """How far it is, in words."""
        if self.state is TransferState.WAITING:
            return "waiting …"
        if self._began is None:
            return "connecting …"
        at, first = self._began
        return " · ".join(progress_parts(self.done, self.size, self.done - first, time.monotonic() - at))

    def note(self, done: int) -> None:
        """So many bytes are done."""
        self.done = done
        if self._began is None:
            self._began = (time.monotonic(), done)

    def begin(self) -> None:
        """It is its turn."""
        self.state, self.error, self.done, self._began = TransferState.RUNNING, None, 0, None

    def fail(self, error: SecureChatError) -> None:
        """It came to nothing, for now."""
        self.error, self.state = error, TransferState.FAILED


class Upload(Transfer):
    """A file that was attached to a conversation: uploaded, then sent there."""

    def __init__(self, number: int, name: str, content: BinaryIO, conversation: str, suite: Suite) -> None:
        super().__init__(name, content.seek(0, os.SEEK_END))
        self.number: Final = number
        self.conversation: Final = conversation
        self.suite: Final = suite
        self.content: BinaryIO | None = content  # until it has a copy
        self.copy: Path | None = None
        self.file: File | None = None  # once it is uploaded

    @property
    def repeatable(self) -> bool:
        """Whether trying again may help."""
        return not isinstance(self.error, BadFileName)


class Download(Transfer):
    """A file that somebody sent."""

    def __init__(self, file: File) -> None:
        super().__init__(file.name, file.size)
        self.file: Final = file
        self.data = b""


class Transfers:
    """A session's transfers, and the private folder that they use meanwhile. ``close`` ends them and removes the folder."""

    def __init__(self, client: ChatClient) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._folder: Path | None = None
        self._uploads: list[Upload] = []
        self._downloads: dict[tuple[object, ...], Download] = {}  # the one that was asked for last at the end
        self._unasked: dict[tuple[object, ...], int] = {}  # what was fetched without being asked for, and its size
        self._count = 0
        # What was asked for does not wait behind pictures, and what is sent not behind what is fetched.
        self._sending, self._fetching, self._pictures = _Lane(), _Lane(), _Lane()

    @property
    def busy(self) -> bool:
        """Whether anything is under way."""
        with self._lock:
            return any(one.active for one in (*self._uploads, *self._downloads.values()))

    # Uploads

    def uploads(self) -> tuple[Upload, ...]:
        """What was attached and is not sent yet, in that order."""
        with self._lock:
            return tuple(self._uploads)

    def attach(
        self, name: str, content: BinaryIO, conversation: str, suite: Suite, refused: SecureChatError | None = None
    ) -> Upload:
        """Upload a file and send it to a conversation; with ``refused``, only once somebody says to try again."""
        with self._lock:
            self._count += 1
            upload = Upload(self._count, name, content, conversation, suite)
            self._uploads.append(upload)
        try:
            check_file_name(name)
        except BadFileName as error:
            upload.content = None
            refused = error
        if refused is None and self._closed.is_set():
            refused = SessionEnded()
        if refused:
            upload.fail(refused)
        else:
            self._sending.put(lambda: self._upload(upload))
        return upload

    def take_on(self, before: Transfers) -> None:
        """What another session's transfers did not send is sent by these."""
        for upload in before.uploads():
            with contextlib.suppress(OSError):
                content = upload.content or (io.BytesIO(upload.copy.read_bytes()) if upload.copy else None)
                if content:
                    again = None if isinstance(upload.error, SessionEnded) else upload.error
                    self.attach(upload.name, content, upload.conversation, upload.suite, again)

    def try_again(self, upload: Upload) -> None:
        """Once more; what the broker has already is not uploaded again."""
        if upload.state is TransferState.FAILED and not self._closed.is_set():
            upload.state = TransferState.WAITING
            self._sending.put(lambda: self._upload(upload))

    def give_up(self, upload: Upload) -> None:
        """Forget an upload that failed, here and at the broker."""
        copy = upload.copy
        self.dismiss(upload)
        if copy and not self._closed.is_set():
            self._sending.put(lambda: self._discard(copy))

    def _discard(self, copy: Path) -> None:
        with contextlib.suppress(SecureChatError):  # what the broker has of it goes by itself, in time
            self._client.files.give_up(copy)

    def dismiss(self, upload: Upload) -> None:
        """Forget an upload."""
        with self._lock:
            self._uploads = [one for one in self._uploads if one is not upload]
        upload.content = None
        _remove(upload.copy)

    def _upload(self, upload: Upload) -> None:
        def progress(done: int, _size: int) -> None:
            self._go_on()
            upload.note(done)

        upload.begin()
        try:
            self._wait_for_keys()
            self._check(upload.conversation)
            if upload.file is None:
                upload.file = self._client.files.upload(self._copy(upload), progress)
            self._check(upload.conversation)  # a key may have changed meanwhile
            if is_picture(upload.file):
                self._have(upload.file, self._copy(upload).read_bytes())
            self._client.send(upload.file, upload.conversation, suite=upload.suite)
        except SecureChatError as error:
            upload.fail(error)
        except OSError as error:
            upload.fail(FileUnreadable(name=upload.name, why=f"no copy of it could be made ({error.strerror})"))
        except _Closed:
            self._clear()
        else:
            self.dismiss(upload)
            upload.state = TransferState.DONE

    def _check(self, conversation: str) -> None:
        """Raise what would keep the message from being sent, before its file is uploaded."""
        if conversation == EVERYONE:
            if self._client.status.state is ConnectionState.ONLINE and not self._client.audience():
                raise NobodyHere
        elif self._client.others:
            self._client.others.check(conversation)

    def _copy(self, upload: Upload) -> Path:
        """The file on disk, under the name that it is sent with."""
        if upload.copy is None and upload.content is not None:
            path = self._new_folder() / upload.name
            upload.content.seek(0)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as copy:
                shutil.copyfileobj(upload.content, copy, 1024 * 1024)
            upload.copy, upload.content = path, None
        return upload.copy or Path(upload.name)

    # Downloads

    def download(self, file: File) -> Download | None:
        """How far a file is that was to be fetched, if it was."""
        return self._downloads.get(_key(file))

    def fetch(self, file: File, *, asked: bool = True) -> None:
        """Fetch a file; one for which nobody asked, only once."""
        with self._lock:
            before = self._downloads.get(_key(file))
            if self._closed.is_set() or (before and before.state is not TransferState.FAILED):
                return
            if not asked:
                if _key(file) in self._unasked or sum(self._unasked.values()) + file.size > UNASKED_MAX:
                    return
                self._unasked[_key(file)] = file.size
            download = self._downloads[_key(file)] = Download(file)
        (self._fetching if asked else self._pictures).put(lambda: self._download(download))

    def _download(self, download: Download) -> None:
        def progress(done: int, _size: int) -> None:
            self._go_on()
            download.note(done)

        download.begin()
        folder = None
        try:
            self._wait_for_keys()
            folder = self._new_folder()
            data = self._client.files.download(download.file, folder, progress).read_bytes()
        except SecureChatError as error:
            download.fail(error)
        except OSError as error:
            download.fail(FileUnreadable(name=download.name, why=str(error.strerror)))
        except _Closed:
            self._clear()
        else:
            self._have(download.file, data)
        finally:
            if folder and self._closed.is_set():
                shutil.rmtree(folder.parent, ignore_errors=True)
            elif folder and download.state is TransferState.DONE:
                shutil.rmtree(folder, ignore_errors=True)

    def _have(self, file: File, data: bytes) -> None:
        """Keep what a file holds, and so much of what was fetched before as there is room for."""
        with self._lock:
            if self._closed.is_set():
                return
            kept = self._downloads.pop(_key(file), None) or Download(file)
            kept.data, kept.state = data, TransferState.DONE
            self._downloads[_key(file)] = kept
            self._unasked.setdefault(_key(file), 0)
            done = {key: len(one.data) for key, one in self._downloads.items() if one.state is TransferState.DONE}
            total = sum(done.values())
            for key, size in done.items():
                if total <= KEPT_MAX or key == _key(file):
                    break
                del self._downloads[key]
                total -= size

    # The end

    def close(self) -> None:
        """End all transfers, and remove what they have left on disk and in memory."""
        self._closed.set()
        self._clear()
        until = time.monotonic() + _JOIN
        for lane in (self._sending, self._fetching, self._pictures):
            lane.end(until)
        self._clear()

    def _clear(self) -> None:
        with self._lock:
            self._uploads.clear()
            self._downloads.clear()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _go_on(self) -> None:
        if self._closed.is_set():
            raise _Closed

    def _wait_for_keys(self) -> None:
        while self._client.kid is None:
            if self._closed.wait(0.05):
                break
        self._go_on()

    def _new_folder(self) -> Path:
        with self._lock:
            self._go_on()
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="securechat-page-"))
            return Path(tempfile.mkdtemp(dir=self._folder))


class _Lane:
    """Does one thing after another, in a thread that runs while there is something to do."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[Callable[[], None]] = deque()
        self._thread: threading.Thread | None = None

    def put(self, work: Callable[[], None]) -> None:
        with self._lock:
            self._waiting.append(work)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="securechat-transfer", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        try:
            while work := self._next():
                work()
        except BaseException:
            self._thread = None  # a mistake in one of them is no reason to do no other
            raise

    def _next(self) -> Callable[[], None] | None:
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._thread = None
            return None

    def end(self, until: float) -> None:
        with self._lock:
            self._waiting.clear()
            thread = self._thread
        if thread and thread is not threading.current_thread():
            thread.join(max(0.0, until - time.monotonic()))


def _key(file: File) -> tuple[object, ...]:
    # All of it: whoever sends a file that names another's blob must not decide what that one's reader sees.
    return file.blob, file.key, file.hash, file.name, file.size


def _remove(copy: Path | None) -> None:
    if copy:
        with contextlib.suppress(OSError):
            copy.unlink()
            copy.parent.rmdir()
