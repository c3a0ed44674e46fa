"""The page before there is a chat: a name, a broker, Connect."""

from __future__ import annotations

import os
from typing import Final

import streamlit as st
from streamlit_autorefresh import st_autorefresh

from clients.chat import ChatClient, ConnectionState
from clients.discovery import choose_broker
from clients.page_log import plain
from clients.page_state import Chat, begin_chat, current_chat
from core.address import BrokerAddress
from core.bundle import Suite
from core.errors import NoBrokerFound, SecureChatError
from core.names import normalise_name

REFRESH_MS: Final = 2000
CONNECTING_MS: Final = 500  # somebody sits there and waits for just this
_NAME, _BROKER, _ERROR = "name", "broker", "connect_error"


def show() -> None:
    """Draw the form."""
    found, trouble = _local_broker()
    if _NAME not in st.session_state:
        st.session_state[_NAME] = st.query_params.get("as", "")
    if found and not st.session_state.get(_BROKER):
        st.session_state[_BROKER] = found

    with st.container(key="connect"):
        st.html(
            '<div class="sc-hello"><div class="sc-logo"></div><div role="heading" aria-level="1">SecureChat</div>'
            "<p>End-to-end encrypted chat, with an RSA key pair for each name.</p></div>"
        )
        _warn_if_exposed()
        with st.form("connect_form"):
            st.text_input("Your name", key=_NAME, placeholder="alice", autocomplete="username")
            st.text_input("Broker", key=_BROKER, placeholder="securechat://HOST:PORT/KEY", autocomplete="off")
            _say_error(st.session_state.get(_ERROR))
            st.form_submit_button("Connect", type="primary", width="stretch", on_click=_connect)
        if trouble is not None:
            _say_error(trouble)
        elif not found:
            _wait_for_broker()
        st.html(
            '<p class="sc-fine">Your private keys and the text of your messages live in this program, on the machine '
            "that runs it, in memory only. The broker sees who writes to whom, when and how much, never what. Close or "
            "reload the tab and this guest is gone, with its keys and all that was said.</p>"
        )


def show_again(chat: Chat) -> None:
    """Draw what to do about a client that will not be online again: another name, or the same one once more.

    The composers below keep what was typed, and messages that still waited go out under the new name.
    """
    status = chat.client.status
    if status.state is ConnectionState.CLOSED:
        st.html(
            '<div class="sc-panel" role="alert"><b>This guest has left.</b> The tab was away for too long, so its keys were '
            "deleted. Connect again with new ones; what you had typed is still here.</div>"
        )
    else:
        _say_error(status.error)
    if _NAME not in st.session_state:
        st.session_state[_NAME] = chat.client.user
    with st.form("again_form", border=False):
        st.text_input("Your name", key=_NAME)
        _say_error(st.session_state.get(_ERROR))
        st.form_submit_button("Connect", type="primary", on_click=_connect_again, args=(chat,))


def _connect() -> None:
    _attempt(st.session_state[_NAME], st.session_state[_BROKER].strip())


def _connect_again(chat: Chat) -> None:
    waiting = chat.waiting()
    if _attempt(st.session_state[_NAME], chat.client.broker):
        chat = current_chat() or chat
        for line, users in waiting:
            chat.client.send(line.text, users, suite=line.suite or Suite.HYBRID)


def _attempt(typed: str, broker: str | BrokerAddress) -> bool:
    user = normalise_name(typed)
    try:
        address = broker if isinstance(broker, BrokerAddress) else choose_broker(broker or None, {})
        client = ChatClient(user, address, events=False)
    except NoBrokerFound:
        st.session_state.pop(_ERROR, None)  # the page says so already, for as long as it is true
        return False
    except SecureChatError as error:
        st.session_state[_ERROR] = error
        return False
    st.session_state.pop(_ERROR, None)
    st.query_params["as"] = user
    note = f"'{typed.strip()}' became '{user}': names are lower-case" if user != typed.strip() else ""
    begin_chat(client, note=note, broker_is_local=_local_broker()[0] == address.url)
    return True


def prefill(user: str, broker: BrokerAddress) -> None:
    """Have the form show what was used before."""
    st.session_state[_NAME], st.session_state[_BROKER] = user, broker.url
    st.session_state.pop(_ERROR, None)


def _local_broker() -> tuple[str, SecureChatError | None]:
    try:
        return choose_broker(None, os.environ).url, None
    except NoBrokerFound:
        return "", None
    except SecureChatError as error:
        return "", error


@st.fragment
def _wait_for_broker() -> None:
    st_autorefresh(interval=REFRESH_MS, key="refresh_broker")
    if _local_broker()[0]:
        st.rerun()
    st.html(
        '<div class="sc-panel"><b>No broker is running on this machine.</b> Start one in a terminal, and this page will '
        f"find it by itself, or paste the <code>{plain('securechat://')}</code> line of another.</div>"
    )
    st.code("make broker", language=None)


def _say_error(error: SecureChatError | None) -> None:
    if error is not None:
        hint = f" {error.advice}" if error.advice else ""
        st.html(f'<div class="sc-panel sc-bad" role="alert"><b>{plain(str(error))}</b>{plain(hint)}</div>')


def _warn_if_exposed() -> None:
    address = st.get_option("server.address")
    if address in ("127.0.0.1", "localhost", "::1"):
        return
    where = f"on {address}" if address else "on every network interface"
    st.html(
        f'<div class="sc-panel sc-bad" role="alert"><b>This page listens {plain(where)}.</b> Whoever opens it from another '
        "machine sends plain text over the network, and keys are kept here, not there. Start it with <code>make ui</code>, "
        "or with <code>--server.address=127.0.0.1</code>.</div>"
    )
