"""Who is here: the sidebar's list of conversations, and the head of the one on the screen."""

from __future__ import annotations

from typing import Final, Literal

import streamlit as st

from clients.chat import Peer
from clients.chronicle import ConnectionState
from clients.page_log import literal, plain
from clients.page_state import Chat
from clients.page_trust import badge, draw_verify, mark, trust_of
from clients.view import listing
from core.names import EVERYONE, fingerprint, short_fingerprint

_LISTED_MAX: Final = 40
_FIELD: Final = "find"
_STATES: Final = {
    ConnectionState.CONNECTING: "connecting …",
    ConnectionState.ONLINE: "connected",
    ConnectionState.OFFLINE: "not connected",
    ConnectionState.REFUSED: "refused",
    ConnectionState.CLOSED: "left",
}


def draw_people(chat: Chat) -> None:
    """Draw the conversations to choose from."""
    online = chat.client.status.state is ConnectionState.ONLINE
    here = {peer.user: peer for peer in chat.client.users()}  # while offline, as it was
    known = [name for name in dict.fromkeys((*chat.opened, *chat.client.conversations())) if name != EVERYONE]
    _row(chat, EVERYONE, "", f"{len(here)} here" if online else "")
    first = sorted(known, key=lambda name: (name not in here, name))
    others = [name for name in here if name not in first]
    room = max(0, _LISTED_MAX - len(first))
    for name in [*first, *others[:room]]:
        peer = here.get(name)
        dot = ":green[●]" if peer and online else ":gray[○]"
        _row(chat, name, dot, "" if peer else "away", peer)
    if others[room:]:
        hint, key = f"{len(here)} people are here", chat.key_of(_FIELD)
        st.selectbox("Find a person", others, index=None, key=key, placeholder=hint, on_change=_found, args=(chat, key))


def _found(chat: Chat, key: str) -> None:
    if key == chat.key_of(_FIELD):
        chat.open(st.session_state[key])


def _row(chat: Chat, name: str, dot: str, aside: str, peer: Peer | None = None) -> None:
    label = [dot] if dot else []
    label.append("**Everyone**" if name == EVERYONE else f"*{literal(name)}*")  # the style sheet shortens what is in <em>
    if name != EVERYONE and (shown := mark(trust_of(chat, name, peer))):
        label.append(shown)
    if aside:
        label.append(f":gray[{aside}]")
    if unread := chat.unread.get(name, 0):
        label.append(f":primary-badge[{unread}]")
    kind: Literal["secondary", "tertiary"] = "secondary" if name == chat.current else "tertiary"
    st.button(" ".join(label), key=f"to-{name}", type=kind, width="stretch", on_click=chat.open, args=(name,))


def draw_me(chat: Chat) -> None:
    """Draw who one is oneself, and how the connection stands."""
    client, state = chat.client, chat.client.status.state
    note = f"<span>{plain(chat.note)}</span>" if chat.note else ""
    kind = "profile" if client.profile else "guest"
    with st.container(key="me", gap=None):
        st.html(
            f'<div class="sc-me"><b>{plain(client.user)}</b>'
            f'<span><i class="sc-dot {state.value}"></i>{_STATES[state]} · {kind}</span>{note}</div>'
        )
        if client.kid is None or (pem := client.public_pem) is None:
            return
        with st.popover(f"My key `{short_fingerprint(client.kid)}`", type="tertiary"):
            st.caption("Fingerprint of your identity key. Whoever verifies you sees it, too; it must read the same there.")
            st.code(fingerprint(client.kid), language=None, wrap_lines=True)
            st.caption("Your public encryption key, to which others encrypt:")
            st.code(pem, language=None)


def draw_head(chat: Chat) -> None:
    """Draw who the conversation on the screen is with."""
    online = chat.client.status.state is ConnectionState.ONLINE
    here = {peer.user: peer for peer in chat.client.users()} if online else {}
    peer = here.get(chat.current)
    title = chat.current
    if chat.current == EVERYONE:
        title, about = "Everyone", _company(sorted(here)) if online else "Who is here is known while connected."
    elif not online:
        about = "Whether they are here is known while connected."
    elif peer is None:
        about = "not here now"
    else:
        about = f"here · {peer.kind.value}"
    how = "" if chat.current == EVERYONE else badge(trust_of(chat, chat.current, peer))
    st.html(f'<div class="sc-head"><b>{plain(title)}</b><span>{plain(about)}</span>{how}</div>')
    draw_verify(chat)
    _draw_elsewhere(chat)


def _draw_elsewhere(chat: Chat) -> None:
    """One press to what is unread elsewhere, for a phone: there the sidebar is out of sight."""
    for name, count in list(chat.unread.items())[:1]:
        where = "to everyone" if name == EVERYONE else f"from {literal(name)}"
        more = f", and in {len(chat.unread) - 1} more" if len(chat.unread) > 1 else ""
        st.button(f"{count} new {where}{more}", key="elsewhere", type="tertiary", on_click=chat.open, args=(name,))


def _company(names: list[str]) -> str:
    if not names:
        return "Nobody else is here yet."
    if len(names) > 6:
        names = [*names[:5], f"{len(names) - 5} others"]
    return f"{listing(names)} {'is' if len(names) == 1 else 'are'} here with you."
