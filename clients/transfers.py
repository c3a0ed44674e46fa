"""Files that one session of the page uploads and fetches, in the background."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import BinaryIO, Final

from clients.chat import ChatClient
from clients.chronicle import ConnectionState
from clients.lane import Lane
from clients.pictures import is_picture
from clients.tickets import Ticket
from clients.under_way import Download, DownloadStopped, SessionEnded, Transfer, TransferState, Upload, UploadStopped
from core.bundle import Suite
from core.content import File
from core.errors import BadFileName, FileUnreadable, NobodyHere, SecureChatError
from core.names import EVERYONE, check_file_name

FILE_MAX: Final = 512 * 1024 * 1024  # what is fetched for a browser is held in memory until it is saved
KEPT_MAX: Final = 1024 * 1024 * 1024  # of what was fetched; then the oldest is forgotten
UNASKED_MAX: Final = 256 * 1024 * 1024  # fetched in a session without being asked for: whoever sends has no more memory here
_PIECE: Final = 1024 * 1024
_JOIN: Final = 2.0  # seconds for which the end of a session waits for a transfer to notice


_ATTACHED: Final = "attached:"  # what an upload of the page is known as begins with: there is no path, which begins with /


class _Closed(Exception):
    """The session has ended."""


class _Stopped(Exception):
    """Somebody has stopped this transfer."""


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
        self._known: set[str] = set()  # as what this session's own uploads, and those it has forgotten, are known
        self._count = 0
        # What was asked for does not wait behind pictures, and what is sent not behind what is fetched.
        self._sending, self._fetching, self._pictures = Lane(), Lane(), Lane()

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
        with self._lock:
            if upload.state is not TransferState.FAILED or self._closed.is_set():
                return
            upload.state = TransferState.WAITING
        self._sending.put(lambda: self._upload(upload))

    def stop(self, upload: Upload) -> None:
        """Send no more of a file; what the broker has of it stays there until it is tried again or given up."""
        with self._lock:
            if upload.state in (TransferState.WAITING, TransferState.RUNNING):
                upload.fail(UploadStopped())

    def give_up(self, upload: Upload) -> None:
        """Forget an upload that failed, here and at the broker."""
        self.dismiss(upload)
        # The same file may have been attached twice.
        if upload.known_as and upload.known_as not in [other.known_as for other in self.uploads()]:
            self._discard(upload.known_as)

    def left(self) -> tuple[Ticket, ...]:
        """The files of earlier sessions of this profile that were not uploaded to their end."""
        with self._lock:
            known = set(self._known)
        with contextlib.suppress(SecureChatError):  # a profile's database that cannot be used is told of elsewhere
            left = self._client.files.unfinished()
            return tuple(one for one in left if one.path.startswith(_ATTACHED) and one.path not in known)
        return ()

    def forget(self, ticket: Ticket) -> None:
        """Forget what is left of an upload of an earlier session, here and at the broker."""
        self._found(ticket.path)
        self._discard(ticket.path)

    def _found(self, known_as: str) -> None:
        with self._lock:
            self._known.add(known_as)

    def _discard(self, known_as: str) -> None:
        def discard() -> None:
            with contextlib.suppress(SecureChatError):  # what the broker has of it goes by itself, in time
                self._client.files.give_up(known_as)

        if not self._closed.is_set():
            self._sending.put(discard)

    def dismiss(self, upload: Upload) -> None:
        """Forget an upload."""
        with self._lock:
            self._uploads = [one for one in self._uploads if one is not upload]
        upload.content = None
        _remove(upload.copy)

    def _upload(self, upload: Upload) -> None:
        def progress(done: int, _size: int) -> None:
            self._go_on()
            self._expect(upload, TransferState.RUNNING)
            upload.note(done)

        try:
            self._turn(upload, TransferState.WAITING, TransferState.RUNNING)
            self._wait_for_keys()
            self._check(upload.conversation)
            if upload.file is None:
                copy = self._copy(upload)
                self._found(upload.known_as)
                upload.file = self._client.files.upload(copy, progress, known_as=upload.known_as)
            self._check(upload.conversation)  # a key may have changed meanwhile
            if is_picture(upload.file):
                self._have(upload.file, self._copy(upload).read_bytes())
            self._turn(upload, TransferState.RUNNING, TransferState.SENDING)
            self._client.send(upload.file, upload.conversation, suite=upload.suite)
        except SecureChatError as error:
            self._fail(upload, error)
        except OSError as error:
            self._fail(upload, FileUnreadable(name=upload.name, why=f"no copy of it could be made ({error.strerror})"))
        except _Closed:
            self._clear()
        except _Stopped:
            pass
        else:
            self.dismiss(upload)
            upload.state = TransferState.DONE

    def _expect(self, transfer: Transfer, state: TransferState) -> None:
        if transfer.state is not state:
            raise _Stopped

    def _turn(self, transfer: Transfer, before: TransferState, after: TransferState) -> None:
        with self._lock:
            self._expect(transfer, before)
            if after is TransferState.RUNNING:
                transfer.begin()
            transfer.state = after

    def _fail(self, transfer: Transfer, error: SecureChatError) -> None:
        with self._lock:
            if transfer.state in (TransferState.RUNNING, TransferState.SENDING):
                transfer.fail(error)

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
            digest = hashlib.sha256()
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as copy:
                while piece := upload.content.read(_PIECE):
                    digest.update(piece)
                    copy.write(piece)
            # A browser does not tell where a file lies. By its content, it is known when it is attached again.
            os.utime(path, ns=(0, 0))
            upload.known_as = f"{_ATTACHED}{digest.hexdigest()}/{upload.name}"
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

    def stop_fetching(self, file: File) -> None:
        """Fetch no more of a file, and keep nothing of it, as if nobody had asked."""
        with self._lock:
            download = self._downloads.get(_key(file))
            if download and download.active:
                del self._downloads[_key(file)]
                download.fail(DownloadStopped())

    def _download(self, download: Download) -> None:
        def progress(done: int, _size: int) -> None:
            self._go_on()
            self._expect(download, TransferState.RUNNING)
            download.note(done)

        folder = None
        try:
            self._turn(download, TransferState.WAITING, TransferState.RUNNING)
            self._wait_for_keys()
            folder = self._new_folder()
            data = self._client.files.download(download.file, folder, progress).read_bytes()
        except SecureChatError as error:
            self._fail(download, error)
        except OSError as error:
            self._fail(download, FileUnreadable(name=download.name, why=str(error.strerror)))
        except _Closed:
            self._clear()
        except _Stopped:
            pass
        else:
            self._have(download.file, data)
        finally:
            if folder and self._closed.is_set():
                shutil.rmtree(folder.parent, ignore_errors=True)
            elif folder and (download.state is TransferState.DONE or isinstance(download.error, DownloadStopped)):
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

    def begin_close(self) -> None:
        """Have all transfers end soon; returns at once."""
        self._closed.set()

    def close(self) -> None:
        """End all transfers, and remove what they have left on disk and in memory."""
        self.begin_close()
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


def _key(file: File) -> tuple[object, ...]:
    # All of it: whoever sends a file that names another's blob must not decide what that one's reader sees.
    return file.blob, file.key, file.hash, file.name, file.size


def _remove(copy: Path | None) -> None:
    if copy:
        with contextlib.suppress(OSError):
            copy.unlink()
            copy.parent.rmdir()
