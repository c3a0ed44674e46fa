"""Files on the page: as cards in the log, to be fetched and saved; pictures; and what is being sent.

The bytes reach the browser through Streamlit's store of media files, which hands out what it is given. A picture is decoded
by the browser alone.
"""

from __future__ import annotations

import hmac
import secrets
from typing import Final

import streamlit as st
from streamlit import runtime

from clients.chronicle import ConnectionState
from clients.page_hints import advice
from clients.page_log import FileLine, literal, plain
from clients.page_state import Chat
from clients.page_trust import trust_of
from clients.pictures import is_modest, is_picture, picture_type
from clients.tickets import Ticket
from clients.timeline import Line, message_id
from clients.transfers import FILE_MAX
from clients.under_way import Download, Transfer, TransferState, Upload
from clients.view import amount
from core.content import File
from core.encoding import b64url
from core.errors import SecureChatError
from core.events import Trust

_SECRET: Final = secrets.token_bytes(32)  # of this process
_DISTRUSTED: Final = (Trust.RENEWED, Trust.CHANGED, Trust.BLOCKED)  # nothing of theirs is fetched unasked


def draw_file(chat: Chat, part: FileLine, place: int, *, ended: bool) -> None:
    """Draw a message that is a file; ``place`` numbers what is drawn."""
    line, file = part.line, part.file
    side = "mine" if line.mine else "theirs"
    if chat.client.status.state is ConnectionState.ONLINE and is_picture(file) and _trusted(chat, part):
        chat.transfers.fetch(file, asked=False)
    download = chat.transfers.download(file)
    with st.container(key=f"card-{side}-{line.key}", gap=None):
        shown = download and _draw_picture(download, place)
        with st.container(key=f"row-{line.key}", horizontal=True, vertical_alignment="center", gap="small"):
            st.html(_card(file.name, file.size, small=bool(shown)))
            if not ended:
                _draw_action(chat, file, download, line.key)
        # In one piece: of several, one that is not there any more would stay until all else is drawn, and what is above
        # would move away from under the pointer then.
        st.html(_how_far(chat, line, download) + part.meta)


def _how_far(chat: Chat, line: Line, download: Download | None) -> str:
    if download and download.active:
        return _bar(download)
    if download and download.state is TransferState.FAILED:
        return _failure(download)
    if line.file and line.file.size > FILE_MAX:
        return f'<div class="sc-why">It is too big for a browser. {plain(_elsewhere(chat, line))}</div>'
    return ""


def _trusted(chat: Chat, part: FileLine) -> bool:
    line = part.line
    if line.mine:
        return True
    peer = next((peer for peer in chat.client.users() if peer.user == line.sender), None)
    return line.trust not in _DISTRUSTED and trust_of(chat, line.sender, peer) not in _DISTRUSTED


def _draw_picture(download: Download, place: int) -> bool:
    """Show it, if it is one."""
    if download.state is not TransferState.DONE or not is_picture(download.file) or not runtime.exists():
        return False
    kind = picture_type(download.data)
    if kind is None or not is_modest(download.data):
        return False
    # The store lets go of what was at a place before.
    url = runtime.get_instance().media_file_mgr.add(download.data, kind, f"picture-{place}", secret_name(download.file))
    name = plain(download.name)
    st.html(f'<a class="sc-picture" href="{url}" target="_blank" title="Open {name}"><img src="{url}" alt="{name}"></a>')
    return True


def secret_name(file: File) -> str:
    """A name under which Streamlit's store keeps a file: the same for the same content, and no other.

    The store makes a file's address from its content and its name, and whoever asks at that address gets it, without a
    session. A sender who could tell the address beforehand would learn, from a page of theirs, who has looked at their file.
    """
    return hmac.digest(_SECRET, file.hash, "sha256").hex()


def _draw_action(chat: Chat, file: File, download: Download | None, key: str) -> None:
    if download is None and file.size <= FILE_MAX:
        st.button("Get", key=f"get-{key}", help=f"Fetch {literal(file.name)}", on_click=chat.transfers.fetch, args=(file,))
    elif download and download.active:
        st.button("Stop", key=f"stop-{key}", on_click=chat.transfers.stop_fetching, args=(file,))
    elif download and download.repeatable:
        st.button("Try again", key=f"get-{key}", on_click=chat.transfers.fetch, args=(file,))
    elif download and download.state is TransferState.DONE:
        st.download_button(
            "Save",
            download.data,
            file.name,
            f"application/octet-stream; name={secret_name(file)}",  # nothing that a browser would open
            key=f"save-{key}",
            type="primary" if not is_picture(file) else "secondary",
            on_click="ignore",
        )


def _elsewhere(chat: Chat, line: Line) -> str:
    if chat.client.profile:
        return f"The command line fetches it: securechat-cli download {b64url(message_id(line.key))}"
    return "The command line fetches such files as they come: securechat-cli listen --download DIR."


def draw_uploads(chat: Chat, *, ended: bool) -> None:
    """Draw what was attached here and is not sent yet, what could not be sent elsewhere, and what was left earlier."""
    for upload in chat.transfers.uploads():
        if upload.conversation == chat.current or upload.state is TransferState.FAILED:
            _draw_upload(chat, upload, ended=ended)
    if not ended:
        for ticket in chat.transfers.left():
            _draw_left(chat, ticket)


def _draw_upload(chat: Chat, upload: Upload, *, ended: bool) -> None:
    failed = upload.state is TransferState.FAILED
    elsewhere = f"to {upload.conversation}" if upload.conversation != chat.current else ""
    with st.container(key=f"card-mine-up-{upload.number}", gap=None):
        with st.container(key=f"row-up-{upload.number}", horizontal=True, vertical_alignment="center", gap="small"):
            st.html(_card(upload.name, upload.size, aside=elsewhere))
            if not failed:
                st.button("Stop", key=f"stop-{upload.number}", on_click=chat.transfers.stop, args=(upload,))
        if not failed:
            away = chat.client.status.state is ConnectionState.OFFLINE
            st.html(_bar(upload, "It goes on when the broker is back." if away else ""))
            return
        st.html(_failure(upload, upload.left))
        with st.container(horizontal=True, gap="small"):
            if upload.repeatable and not ended:
                label = "Go on" if upload.left else "Try again"
                st.button(label, key=f"resend-{upload.number}", on_click=chat.transfers.try_again, args=(upload,))
            st.button("Dismiss", key=f"dismiss-{upload.number}", on_click=chat.transfers.give_up, args=(upload,))


def _draw_left(chat: Chat, ticket: Ticket) -> None:
    key, name = ticket.blob.hex(), ticket.name
    with st.container(key=f"card-mine-left-{key}", gap=None):
        st.html(_card(name, ticket.size))
        done = amount(ticket.done)
        st.html(
            f'<div class="sc-why">Its upload was broken off, and it was not sent: {done} are at the broker. '
            "Attach the same file again, and it goes on from there.</div>"
        )
        st.button("Forget it", key=f"forget-{key}", on_click=chat.transfers.forget, args=(ticket,))


def _card(name: str, size: int, *, small: bool = False, aside: str = "") -> str:
    end = name.rpartition(".")[2] if "." in name else ""
    icon = "" if small else f'<span class="sc-icon">{plain(end.upper() if 0 < len(end) <= 4 else "FILE")}</span>'
    about = " ".join(part for part in (amount(size), aside) if part)
    return f'<div class="sc-file">{icon}<div><b>{plain(name)}</b><span>{plain(about)}</span></div></div>'


def _bar(transfer: Transfer, instead: str = "") -> str:
    return (
        f'<div class="sc-bar" role="progressbar" aria-valuenow="{transfer.share}" aria-valuemin="0" aria-valuemax="100">'
        f'<i style="width: {transfer.share}%"></i></div><div class="sc-far">{plain(instead or transfer.text())}</div>'
    )


def _failure(transfer: Transfer, left: str = "") -> str:
    error: SecureChatError | None = transfer.error
    what_now = " ".join(part for part in (advice(error) if error else "", left) if part)
    return f'<div class="sc-why sc-failed" role="alert"><b>{plain(transfer.why)}</b> {plain(what_now)}</div>'
