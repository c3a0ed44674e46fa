"""Who is here: the sidebar's list of conversations, and the head of the one on the screen."""

from __future__ import annotations

import re
from typing import Final, Literal

import streamlit as st

from clients.chat import ConnectionState, Peer
from clients.page_log import plain
from clients.page_state import Chat
from clients.view import listing
from core.events import Trust
from core.names import EVERYONE, fingerprint, short_fingerprint

_LISTED_MAX: Final = 40
_STATES: Final = {
    ConnectionState.CONNECTING: "connecting …",
    ConnectionState.ONLINE: "connected",
    ConnectionState.OFFLINE: "not connected",
    ConnectionState.REFUSED: "refused",
    ConnectionState.CLOSED: "left",
}


def draw_people(chat: Chat) -> None:
    """Draw the sidebar's upper part: oneself, and the conversations to choose from."""
    _me(chat)
    online = chat.client.status.state is ConnectionState.ONLINE
    here = {peer.user: peer for peer in chat.client.users()}  # while offline, as it was
    known = [name for name in dict.fromkeys((*chat.opened, *chat.client.conversations())) if name != EVERYONE]
    _row(chat, EVERYONE, "", f"{len(here)} here" if online else "")
    first = sorted(known, key=lambda name: (name not in here, name))
    others = [name for name in here if name not in first]
    room = max(0, _LISTED_MAX - len(first))
    for name in [*first, *others[:room]]:
        peer = here.get(name)
        mark = ":green[●]" if peer and online else ":gray[○]"
        _row(chat, name, mark, "" if peer else "away", peer)
    if others[room:]:
        hint = f"{len(here)} people are here"
        st.selectbox("Find a person", others, index=None, key="find", placeholder=hint, on_change=_found, args=(chat,))


def _found(chat: Chat) -> None:
    chat.open(st.session_state["find"])
    st.session_state["find"] = None


def _row(chat: Chat, name: str, mark: str, aside: str, peer: Peer | None = None) -> None:
    label = [mark] if mark else []
    label.append("**Everyone**" if name == EVERYONE else literal(name))
    if peer and peer.trust is Trust.CHANGED:
        label.append(":red[⚠]")
    if aside:
        label.append(f":gray[{aside}]")
    if unread := chat.unread.get(name, 0):
        label.append(f":primary-badge[{unread}]")
    kind: Literal["secondary", "tertiary"] = "secondary" if name == chat.current else "tertiary"
    st.button(" ".join(label), key=f"to-{name}", type=kind, width="stretch", on_click=chat.open, args=(name,))


def literal(text: str) -> str:
    """Text for a label that Streamlit reads as Markdown: it shows exactly this text."""
    return re.sub(r"([^\w\s])|_", lambda match: "\\" + match[0], text)


def _me(chat: Chat) -> None:
    client, state = chat.client, chat.client.status.state
    note = f"<span>{plain(chat.note)}</span>" if chat.note else ""
    with st.container(key="me", gap=None):
        st.html(
            f'<div class="sc-me"><b>{plain(client.user)}</b>'
            f'<span><i class="sc-dot {state.value}"></i>{_STATES[state]} · guest</span>{note}</div>'
        )
        if client.kid is None or (pem := client.public_pem) is None:
            return
        with st.popover(f"My key `{short_fingerprint(client.kid)}`", type="tertiary"):
            st.caption("Fingerprint of your identity key. Others see it beside your name; it must read the same there.")
            st.code(fingerprint(client.kid), language=None, wrap_lines=True)
            st.caption("Your public encryption key, to which others encrypt:")
            st.code(pem, language=None)


def draw_head(chat: Chat) -> None:
    """Draw who the conversation on the screen is with."""
    online = chat.client.status.state is ConnectionState.ONLINE
    here = {peer.user: peer for peer in chat.client.users()} if online else {}
    peer = here.get(chat.current)
    title, warn = chat.current, ""
    if chat.current == EVERYONE:
        title, about = "Everyone", _company(sorted(here)) if online else "Who is here is known while connected."
    elif not online:
        about = "Whether they are here is known while connected."
    elif peer is None:
        about = "not here now"
    else:
        about = f"here · {peer.kind.value}"
        if peer.trust is Trust.CHANGED:
            warn = ' · <span class="sc-warn">⚠ another key than before</span>'
    elsewhere = "".join(
        f"<span class='sc-elsewhere'>{count} new in {plain(name)}</span>" for name, count in chat.unread.items()
    )
    st.html(f'<div class="sc-head"><b>{plain(title)}</b><span>{plain(about)}</span>{warn}{elsewhere}</div>')
    if peer is not None:
        with st.popover(f"Compare key `{short_fingerprint(peer.kid)}`", type="tertiary"):
            st.caption("Compare over another channel, such as a call: if both of you read the same, nobody sits in between.")
            st.code(f"{peer.user}\n{fingerprint(peer.kid)}", language=None, wrap_lines=True)
            if chat.client.kid:
                st.code(f"{chat.client.user} (you)\n{fingerprint(chat.client.kid)}", language=None, wrap_lines=True)


def _company(names: list[str]) -> str:
    if not names:
        return "Nobody else is here yet."
    if len(names) > 6:
        names = [*names[:5], f"{len(names) - 5} others"]
    return f"{listing(names)} {'is' if len(names) == 1 else 'are'} here with you."
