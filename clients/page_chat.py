"""The page of a chat. Log and roster are drawn in a fragment that refreshes itself; the composers stay outside of it.

Only the fragment reruns every two seconds, so whoever is writing keeps text and focus. Each conversation has a composer
of its own, of which one is visible: drafts stay in the browser, and a text goes to whom its own composer names.
"""

from __future__ import annotations

import time
from datetime import date
from typing import Final

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.elements.widgets.chat import ChatInputValue
from streamlit_autorefresh import st_autorefresh

from clients import page_connect, page_search
from clients.chronicle import ConnectionState, ConnectionStatus
from clients.page_broker import REFRESH_MS
from clients.page_files import draw_file, draw_uploads
from clients.page_hints import advice, broker_command, cli_command
from clients.page_log import SUITE_NAMES, failed, first_shown, literal, log_parts, plain
from clients.page_people import draw_head, draw_me, draw_people
from clients.page_signals import signal
from clients.page_state import SHOWN_FIRST, Chat, end_chat
from clients.page_trust import draw_decision, must_decide, show_number
from clients.timeline import Line, LineKind
from clients.view import lasting
from core.bundle import Suite
from core.errors import BrokerUnreachable, KeyChanged, NobodyHere, PeerBlocked, SecureChatError
from core.names import EVERYONE

_WAITING_MS: Final = 500  # somebody sits there and waits for a connection, or a file
_NEWS_MAX: Final = 3  # conversations with something new that an empty one points to; the list beside it has them all
_BACK_SHOWN: Final = 8.0  # seconds for which the page says that the connection is back
_SUITES: Final = {
    Suite.HYBRID: "AES-256-GCM, with a key of its own for each message, wrapped with RSA. Up to 64 KiB.",
    Suite.CHUNKED: "RSA-OAEP alone, in blocks of 190 bytes. Up to 8 KiB.",
}


def show(chat: Chat) -> None:
    """Draw the whole page once."""
    ended = has_ended(chat.client.status)
    if ended:
        chat.compare(None)
    chat.outside = _outside(chat)
    with st.sidebar:
        me = st.container()
        page_search.draw_field(chat)
        people = st.container(key="people", gap="xsmall")
        _encryption()
        label, what = (
            ("Lock", "Unlock it to come back.") if chat.client.profile else ("Leave", "This guest's keys are deleted.")
        )
        st.button(label, key="leave", width="stretch", on_click=_leave, args=(chat,), help=what)
    head = st.container(key="head", gap=None)
    if ended:
        page_connect.show_again(chat)
    _live(chat, me, people, head, ended=ended)
    _composers(chat)
    if chat.comparing:
        show_number(chat, chat.comparing)
    chat.drawings += 1
    with st.sidebar:  # where nothing stands but what always does, so it has one place
        st.html(f'<i class="sc-drawing" data-number="{chat.drawings}"></i>')


def _encryption() -> None:
    """Draw the choice that few will change, out of the way of others."""
    chosen: Suite = st.session_state.get("suite", Suite.HYBRID)
    with st.expander(f"Encryption: {SUITE_NAMES[chosen]}", key="encryption"):
        st.radio(
            "Encryption of what you send",
            list(_SUITES),
            key="suite",
            format_func=SUITE_NAMES.__getitem__,
            captions=list(_SUITES.values()),
            label_visibility="collapsed",
        )


def has_ended(status: ConnectionStatus) -> bool:
    """Whether this client will never be online again."""
    return status.state in (ConnectionState.REFUSED, ConnectionState.CLOSED)


def _outside(chat: Chat) -> tuple[object, ...]:
    # The choice of the suite is told by a refresh alone if one is sent while it is made.
    suite = st.session_state.get("suite", Suite.HYBRID)
    return chat.current, chat.comparing, has_ended(chat.client.status), chat.search, suite


@st.fragment
def _live(chat: Chat, me: DeltaGenerator, people: DeltaGenerator, head: DeltaGenerator, *, ended: bool) -> None:
    waiting = chat.client.status.state is ConnectionState.CONNECTING or chat.transfers.busy
    st_autorefresh(interval=_WAITING_MS if waiting else REFRESH_MS, key="refresh")
    if chat.outside != _outside(chat):
        st.rerun()  # what is drawn outside of this fragment has to change, too
    chat.take_stock()
    script = st.container(key="script")  # at the same place always: moved, it would begin anew
    with me:
        draw_me(chat)
    with people:
        draw_people(chat)
    with head:
        if chat.search:
            page_search.draw_head(chat, chat.search)
        else:
            draw_head(chat)
    if chat.search:
        page_search.draw_found(chat, chat.search)
        _connection(chat)
    else:
        _conversation(chat, ended=ended)
    with script:
        signal(
            received=chat.received,
            elsewhere=sum(chat.unread.values()),
            field=_field(chat),
            goto=chat.goto,
            asked=chat.asked,
            drawing=chat.drawings,
            lost=chat.draw_again,
        )


def _conversation(chat: Chat, *, ended: bool) -> None:
    lines = chat.client.timeline(chat.current)
    _log(chat, lines, ended=ended)
    if not ended:
        draw_decision(chat)
    _connection(chat)
    _resend(chat, lines)
    # Here and not beside the composer: so it comes with each refresh, whatever became of the drawing of the whole page.
    if refusal := chat.refusals.get(chat.current):
        _panel("sc-bad", refusal[0], f" {refusal[1]}")


def _log(chat: Chat, lines: tuple[Line, ...], *, ended: bool) -> None:
    shown = chat.shown.get(chat.current, SHOWN_FIRST)
    version = (chat.current, chat.client.user, lines[-1].key if lines else "", chat.client.version, shown, date.today())  # noqa: DTZ011
    if chat.drawn[0] != version:
        chat.drawn = (version, log_parts(lines, shown))
    silent = not any(line.kind is LineKind.MESSAGE for line in lines) and not chat.transfers.uploads()
    if not ended and silent and not must_decide(chat):
        _empty(chat)
    with st.container(key="log", gap=None):
        if older := first_shown(len(lines), shown):
            st.button(f"Load older ({older})", key="older", type="tertiary", width="stretch", on_click=chat.show_more)
        for place, part in enumerate(chat.drawn[1]):
            if isinstance(part, str):
                st.html(part)
            else:
                draw_file(chat, part, place, ended=ended)
        draw_uploads(chat, ended=ended)


def _empty(chat: Chat) -> None:
    _news(chat)
    online = chat.client.status.state is ConnectionState.ONLINE  # else there is enough to read
    if online and not (chat.unread and chat.current == EVERYONE):
        _silence(chat)


def _news(chat: Chat) -> None:
    for name, count in list(chat.unread.items())[:_NEWS_MAX]:
        said = "1 new message" if count == 1 else f"{count} new messages"
        where = "to everyone" if name == EVERYONE else f"from {literal(name)}"
        with st.container(key=f"news-{name}", horizontal_alignment="center"):
            st.button(f"{said} {where}", key=f"read-{name}", type="primary", on_click=chat.open, args=(name,))


def _silence(chat: Chat) -> None:
    me, peer = chat.client.user, chat.current
    here = {other.user for other in chat.client.users()}
    if peer in here:
        _say_empty("Nothing has been said yet.", f"What you write, only {peer} can read.")
    elif peer != EVERYONE:
        _say_empty(f"{peer} is not here.", f"If {peer} is a profile, the broker keeps what you write until they come.")
    else:
        _say_empty("Nothing has been said yet.", "Write to everyone who is here, or have a terminal write to you:")
        taken = {me, *here, *(other.user for other in chat.client.audience())}
        guest = next((name for name in ("carol", "dave", "erin", "frank") if name not in taken), "zoe")
        broker = "" if chat.broker_is_local else f" --broker {chat.client.broker.url}"
        line = f"{cli_command()} --as {guest}{broker} send {me} 'hello from a terminal'"
        st.code(line, language=None, wrap_lines=True)


def _say_empty(title: str, how: str) -> None:
    st.html(f'<div class="sc-empty"><b>{plain(title)}</b>{plain(how)}</div>')


def _connection(chat: Chat) -> None:
    status, now, keep = chat.client.status, time.time(), _kept_meanwhile(chat)
    match status.state:
        case ConnectionState.CONNECTING:
            doing = "Connecting to" if chat.client.kid else "Making an RSA key pair, then connecting to"
            _panel("", f"{doing} {chat.client.broker.where} …", keep)
        case ConnectionState.OFFLINE:
            gone = max(0.0, now - status.since)
            why = f"Not connected for {lasting(gone)}." if gone >= 1 else "Not connected."
            silent = status.error is None or type(status.error) is BrokerUnreachable
            start = broker_command(chat.client.broker) if silent else ""
            hint = "To start the broker again:" if start else advice(status.error) if status.error else ""
            _panel("sc-bad", why, f"{keep} {status.why} It is tried again and again. {hint}")
            if start:
                st.code(start, language=None, wrap_lines=True)
            st.button("Try again now", key="retry", on_click=chat.client.retry_now)
            chat.offline_since = status.since
        case ConnectionState.ONLINE:
            if chat.offline_since is not None:
                chat.back, chat.offline_since = (now, status.since - chat.offline_since), None
            if chat.back and now - chat.back[0] < _BACK_SHOWN:
                _panel("sc-good", "Connected again", f" after {lasting(chat.back[1])}.")
        case _:
            pass


def _kept_meanwhile(chat: Chat) -> str:
    if waiting := len(chat.waiting()):
        return f" {'1 message waits' if waiting == 1 else f'{waiting} messages wait'} here and will be sent then."
    if chat.current == EVERYONE and not chat.client.audience():
        return " To everyone you can write once it is known who is here."
    return " You can write meanwhile: messages wait here."


def _panel(kind: str, title: str, text: str) -> None:
    st.html(f'<div class="sc-panel {kind}" role="status"><b>{plain(title)}</b>{plain(text)}</div>')


def _resend(chat: Chat, lines: tuple[Line, ...]) -> None:
    last = next((line for line in reversed(lines) if line.mine), None)
    if last is None or last.key in chat.resent:
        return
    here = {peer.user for peer in chat.client.users()}
    again = [user for user in failed(last) if user in here]
    if again:
        label = f"Send again to {', '.join(map(literal, again))}"
        st.button(label, key="again", on_click=_send_again, args=(chat, last, again))


def _send_again(chat: Chat, line: Line, to: list[str]) -> None:
    chat.resent.add(line.key)
    chat.client.send(line.file or line.text, to, suite=line.suite or Suite.HYBRID)


def _composer_key(chat: Chat, conversation: str) -> str:
    return f"write-{chat.opened.index(conversation)}"


def _field(chat: Chat) -> str:
    """The key of the field that is to have the focus; empty where none is."""
    if has_ended(chat.client.status):
        return page_connect.field_again(chat.client)
    return "" if chat.search else _composer_key(chat, chat.current)


def _composers(chat: Chat) -> None:
    visible = "none" if chat.search else _composer_key(chat, chat.current)
    st.html(f'<style>[class*="st-key-write-"]:not(.st-key-{visible}) {{ display: none; }}</style>')
    for conversation in chat.opened:
        key = _composer_key(chat, conversation)
        st.chat_input(
            f"Message {conversation}",
            key=key,
            accept_file="multiple",
            on_submit=_submit,
            args=(chat, conversation, key),
        )


def _submit(chat: Chat, conversation: str, key: str) -> None:
    typed: ChatInputValue = st.session_state[key]
    suite: Suite = st.session_state["suite"]
    error = _say(chat, conversation, typed.text, suite) if typed.text or not typed.files else None
    if error is None:
        chat.refusals.pop(conversation, None)
    else:
        st.session_state[key] = typed.text  # back into the composer
    for file in typed.files:  # a composer cannot be given files back, so those of a refused text wait in the log
        chat.transfers.attach(file.name, file, conversation, suite, refused=error)


def _say(chat: Chat, conversation: str, text: str, suite: Suite) -> SecureChatError | None:
    """Send a text; returns, and remembers, what keeps it from being sent."""
    try:
        if conversation != EVERYONE and chat.client.others:
            chat.client.others.check(conversation)
        chat.client.send(text, conversation, suite=suite)
    except SecureChatError as error:
        if isinstance(error, NobodyHere):
            unknown = chat.client.status.state is not ConnectionState.ONLINE
            why = "who is here is known once the connection stands. What you wrote stays below."
            chat.refusals[conversation] = ("Not sent:", why) if unknown else (str(error), "What you wrote stays below.")
        elif has_ended(chat.client.status):
            how = "unlock it" if chat.client.profile else "connect"
            chat.refusals[conversation] = ("Not sent:", f"{how} above first. What you wrote stays below.")
        elif isinstance(error, KeyChanged):  # what to do about it stands above
            chat.refusals[conversation] = ("Not sent:", "decide above first.")
        elif isinstance(error, PeerBlocked):
            chat.refusals[conversation] = ("Not sent:", "unblock them above first.")
        else:
            chat.refusals[conversation] = (str(error), advice(error))
        return error
    return None


def _leave(chat: Chat) -> None:
    page_connect.prefill(chat.client)
    end_chat()
