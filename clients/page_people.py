"""Who is here: the sidebar's list of conversations, and the head of the one on the screen."""

from __future__ import annotations

import re
from typing import Final

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


def draw_people(chat: Chat) -> str | None:
    """Draw the sidebar's upper part; returns the conversation that was just chosen, if one was."""
    _me(chat)
    online = chat.client.status.state is ConnectionState.ONLINE
    here = {peer.user: peer for peer in chat.client.users()}
    known = [name for name in dict.fromkeys((*chat.opened, *chat.client.conversations())) if name != EVERYONE]
    chosen = EVERYONE if _row(chat, EVERYONE, "", f"{len(here)} here") else None
    first = sorted(known, key=lambda name: (name not in here, name))
    others = [name for name in here if name not in first]
    room = max(0, _LISTED_MAX - len(first))
    for name in [*first, *others[:room]]:
        peer = here.get(name)
        mark = ":green[●]" if peer and online else ":gray[○]"
        if _row(chat, name, mark, "" if peer else "away", peer):
            chosen = name
    if others[room:]:
        chosen = st.selectbox("Find a person", others, index=None, key="find", placeholder=f"{len(here)} people …") or chosen
    return chosen


def _row(chat: Chat, name: str, mark: str, aside: str, peer: Peer | None = None) -> bool:
    label = [mark] if mark else []
    label.append("**Everyone**" if name == EVERYONE else literal(name))
    if peer and peer.trust is Trust.CHANGED:
        label.append(":red[⚠]")
    if aside:
        label.append(f":gray[{aside}]")
    if unread := chat.unread.get(name, 0):
        label.append(f":primary-badge[{unread}]")
    return st.button(
        " ".join(label), key=f"to-{name}", type="secondary" if name == chat.current else "tertiary", width="stretch"
    )


def literal(text: str) -> str:
    """Text for a label that Streamlit reads as Markdown: it shows exactly this text."""
    return re.sub(r"([^\w\s])|_", lambda match: "\\" + match[0], text)


def _me(chat: Chat) -> None:
    client, state = chat.client, chat.client.status.state
    kid = client.kid
    key = short_fingerprint(kid) if kid else "making keys …"
    st.html(
        f'<div class="sc-me"><b>{plain(client.user)}</b>'
        f'<span><i class="sc-dot {state.value}"></i>{_STATES[state]} · guest</span>'
        f'<span>key <code class="sc-kid">{plain(key)}</code></span></div>'
    )
    if kid and (pem := client.public_pem):
        with st.popover("My keys", width="stretch"):
            st.caption(
                "Fingerprint of your identity key. Read it to the others over another channel; it must be the same there."
            )
            st.code(fingerprint(kid), language=None, wrap_lines=True)
            st.caption("Your public encryption key: what others encrypt to.")
            st.code(pem, language=None)


def draw_head(chat: Chat) -> None:
    """Draw who the conversation on the screen is with."""
    here = {peer.user: peer for peer in chat.client.users()}
    if chat.current == EVERYONE:
        st.html(f'<div class="sc-head"><h2>Everyone</h2>{plain(_company(sorted(here)))}</div>')
        return
    name = chat.current
    peer = here.get(name)
    if peer is None:
        st.html(f'<div class="sc-head"><h2>{plain(name)}</h2>not here now</div>')
        return
    warn = ' · <span class="sc-warn">⚠ another key than before</span>' if peer.trust is Trust.CHANGED else ""
    key = f'key <code class="sc-kid">{plain(short_fingerprint(peer.kid))}</code>'
    st.html(f'<div class="sc-head"><h2>{plain(name)}</h2>here · {plain(peer.kind.value)} · {key}{warn}</div>')
    with st.popover("Compare keys"):
        st.caption("Compare over another channel, such as a call. If both read the same, nobody sits in between.")
        st.code(f"{name}\n{fingerprint(peer.kid)}", language=None, wrap_lines=True)
        if chat.client.kid:
            st.code(f"{chat.client.user} (you)\n{fingerprint(chat.client.kid)}", language=None, wrap_lines=True)


def _company(names: list[str]) -> str:
    if not names:
        return "Nobody else is here yet."
    if len(names) > 6:
        names = [*names[:5], f"{len(names) - 5} others"]
    return f"{listing(names)} {'is' if len(names) == 1 else 'are'} here with you."
