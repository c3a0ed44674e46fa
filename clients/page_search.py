"""Searching on the page: a field in the sidebar, and what was found, in place of the conversation."""

from __future__ import annotations

from typing import Final, Literal

import streamlit as st

from clients.finding import FOUND_MAX, Found, find
from clients.page_log import body, line_id, literal, plain
from clients.page_state import SHOWN_FIRST, Chat, Search
from clients.view import clock, day
from core.errors import SecureChatError
from core.names import EVERYONE, is_name, normalise_name

_FIELD: Final = "search"
_WHAT_FOR: Final = "Search, or a name to write to"
_TOP: Final = "found"  # what the page's script brings into sight: Streamlit would follow the end of what was found


def draw_field(chat: Chat) -> None:
    """Draw the field to type into."""
    key = chat.key_of(_FIELD)
    st.text_input(
        _WHAT_FOR,
        key=key,
        placeholder=_WHAT_FOR,
        label_visibility="collapsed",
        icon=":material/search:",
        autocomplete="off",
        on_change=_look,
        args=(chat, key),
    )


def _look(chat: Chat, key: str) -> None:
    if key != chat.key_of(_FIELD):
        return
    text = st.session_state[key].strip()
    if not text:
        chat.search = None
        return
    try:
        found, more = find(chat.client, text)
        chat.search = Search(text, tuple(found), more)
    except SecureChatError as error:
        chat.search = Search(text, (), more=False, error=error)
    chat.goto, chat.asked = _TOP, chat.asked + 1


def draw_head(chat: Chat, search: Search) -> None:
    """Draw what was searched for, and how much was found."""
    count = len(search.found)
    about = "nothing was found" if not count else "1 message" if count == 1 else f"{count} messages"
    if search.more:
        about = f"the newest {FOUND_MAX} messages; search for more of the text to see others"
    st.html(f'<div class="sc-head"><b>“{plain(search.text)}”</b><span>{about}</span></div>')
    st.button("Back to the conversation", key="found-back", type="tertiary", on_click=chat.open, args=(chat.current,))


def draw_found(chat: Chat, search: Search) -> None:
    """Draw what was found."""
    st.html(f'<div id="{line_id(_TOP)}"></div>')
    _draw_name(chat, normalise_name(search.text), aside=bool(search.found))
    if search.error:
        st.html(f'<div class="sc-panel sc-bad" role="alert"><b>{plain(str(search.error))}</b></div>')
    elif not search.found:
        where = "this profile's history" if chat.client.profile else "what was said since you connected"
        st.html(f'<div class="sc-empty"><b>Nothing in {where} contains this.</b>Upper and lower case are the same here.</div>')
    with st.container(key="found", gap=None):
        for found in search.found:
            _draw(chat, found)


def _draw_name(chat: Chat, name: str, *, aside: bool) -> None:
    """Whoever is away and was never met is in no list, but can be written to."""
    if is_name(name) and name not in (chat.client.user, *chat.opened, *chat.client.conversations()):
        kind: Literal["primary", "tertiary"] = "tertiary" if aside else "primary"
        st.button(f"Write to {literal(name)}", key="name-found", type=kind, on_click=chat.open, args=(name,))


def _draw(chat: Chat, found: Found) -> None:
    mine = found.sender == chat.client.user
    where = "to everyone" if found.conversation == EVERYONE else f"to {found.conversation}" if mine else "to you"
    who = "You" if mine else found.sender
    with st.container(key=f"hit-{found.conversation}-{found.key}", gap=None):
        about = f"{where} · {day(found.when)}, {clock(found.when)}"
        st.html(f'<div class="sc-who">{plain(who)} <span>{plain(about)}</span></div>{body(found.text)}')
        if any(line.key == found.key for line in chat.client.timeline(found.conversation)):
            label = "Everyone" if found.conversation == EVERYONE else literal(found.conversation)
            key = f"go-{found.conversation}-{found.key}"
            st.button(f"Show in {label}", key=key, type="tertiary", on_click=_go, args=(chat, found))


def _go(chat: Chat, found: Found) -> None:
    chat.open(found.conversation)
    lines = chat.client.timeline(found.conversation)
    back = next((back for back, line in enumerate(reversed(lines)) if line.key == found.key), 0)
    chat.shown[found.conversation] = max(chat.shown.get(found.conversation, SHOWN_FIRST), back + SHOWN_FIRST // 2)
    chat.goto = found.key
    chat.asked += 1
