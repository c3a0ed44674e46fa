"""The page before there is a chat: as a guest, a name and Connect; or a profile to unlock."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Final

import streamlit as st

from clients import page_unlock
from clients.chat import ChatClient
from clients.chronicle import ConnectionState
from clients.config_file import with_config
from clients.discovery import choose_broker
from clients.page_broker import local_broker, say_error, typed_broker, wait_for_broker
from clients.page_log import plain
from clients.page_state import Chat, begin_chat, current_chat, end_chat
from core.address import BrokerAddress
from core.errors import BadName, ConfigBroken, NameTaken, NoBrokerFound, SecureChatError
from core.names import normalise_name

_NAME, _BROKER, _ERROR, _WHO = "name", "broker", "connect_error", "who"
_FIRST_ANSWER: Final = 2.0  # seconds for which the form waits, so that who is refused has not begun to write elsewhere
_TAKEN: Final = "Take another name. If it is your profile: choose Profile."
_TAKEN_SINCE: Final = "Take another name. If it is your profile: press Leave, then choose Profile."
_GUEST: Final = "Guest"
_PROFILE: Final = "Profile"


def show() -> None:
    """Draw the form."""
    with st.container(key="connect"):
        st.html(
            '<div class="sc-hello"><div class="sc-logo"></div><div role="heading" aria-level="1">SecureChat</div>'
            "<p>End-to-end encrypted. The keys stay here.</p></div>"
        )
        _warn_if_exposed()
        try:
            with_config(os.environ)
        except ConfigBroken as trouble:
            say_error(trouble)
            return
        if _WHO not in st.session_state:
            st.session_state[_WHO] = _PROFILE if page_unlock.asked_for() else _GUEST
        st.segmented_control(
            "Connect as", [_GUEST, _PROFILE], key=_WHO, required=True, label_visibility="collapsed", width="stretch"
        )
        if st.session_state[_WHO] == _PROFILE:
            page_unlock.show()
        else:
            _guest()


def _guest() -> None:
    found, trouble = local_broker()
    if _NAME not in st.session_state:
        st.session_state[_NAME] = st.query_params.get("as", "")
    if found and not st.session_state.get(_BROKER):
        st.session_state[_BROKER] = found
    error: SecureChatError | None = st.session_state.get(_ERROR)
    of_name = isinstance(error, (BadName, NameTaken))
    with st.form("connect_form"):
        st.text_input("Your name", key=_NAME, placeholder="alice", autocomplete="username")
        if of_name:
            say_error(error, hint=_TAKEN if isinstance(error, NameTaken) else "")
        st.text_input("Broker", key=_BROKER, placeholder="securechat://HOST:PORT/KEY", autocomplete="off")
        if not of_name:
            say_error(error)
        st.form_submit_button("Connect", type="primary", width="stretch", on_click=_connect)
    if trouble is not None:
        say_error(trouble)
    elif not found:
        wait_for_broker()
    st.html(
        '<p class="sc-fine">Your private keys and the text of your messages live in this program, on the machine '
        "that runs it, in memory only; files lie in a private folder there while they are on their way. The broker sees "
        "who writes to whom, when and how much, never what. Close or reload the tab and this guest is gone within seconds, "
        "with its keys and all that was said. A profile keeps its keys.</p>"
    )


def show_again(chat: Chat) -> None:
    """Draw what to do about a client that will not be online again: come back, perhaps under another name.

    The composers below keep what was typed, and messages that still waited go out once somebody is there to send them.
    """
    status, profile = chat.client.status, chat.client.profile
    if status.state is not ConnectionState.CLOSED:
        say_error(status.error, hint=_TAKEN_SINCE if isinstance(status.error, NameTaken) and not profile else "")
    elif profile:
        _gone(f"{profile.user} is locked.", "The tab was away for too long. Unlock it; what you had typed is still here.")
    else:
        _gone(
            "This guest has left.",
            "The tab was away for too long, so its keys were deleted. Connect again with new ones; what you had typed is "
            "still here.",
        )
    if profile:
        page_unlock.show_again(chat.client)
    else:
        _guest_again(chat.client.user, lambda: _attempt(st.session_state[_NAME], chat.client.broker))


def field_again(client: ChatClient) -> str:
    """The key of the field to write in, to come back."""
    return page_unlock.FIELD if client.profile else _NAME


def _gone(title: str, text: str) -> None:
    st.html(f'<div class="sc-panel" role="alert"><b>{plain(title)}</b> {plain(text)}</div>')


def _guest_again(user: str, again: Callable[[], None]) -> None:
    if _NAME not in st.session_state:
        st.session_state[_NAME] = user
    with st.form("again_form", border=False):
        st.text_input("Your name", key=_NAME)
        say_error(st.session_state.get(_ERROR))
        st.form_submit_button("Connect", type="primary", on_click=again)


def _connect() -> None:
    _attempt(st.session_state[_NAME], st.session_state[_BROKER].strip())


def _attempt(typed: str, broker: str | BrokerAddress) -> None:
    user, first = normalise_name(typed), current_chat() is None
    try:
        address = broker if isinstance(broker, BrokerAddress) else typed_broker(broker) or choose_broker(None, {})
        client = ChatClient(user, address, events=False)
    except NoBrokerFound:
        st.session_state.pop(_ERROR, None)  # the page says so already, for as long as it is true
        return
    except SecureChatError as error:
        st.session_state[_ERROR] = error
        return
    st.session_state.pop(_ERROR, None)
    st.query_params.from_dict({"as": user})
    note = f"'{typed.strip()}' became '{user}': names are lower-case" if user != typed.strip() else ""
    begin_chat(client, note=note, broker_is_local=local_broker()[0] == address.url)
    if first:
        _wait_for_answer(client)


def _wait_for_answer(client: ChatClient) -> None:
    """Stay on the form, with the reason, if the broker refuses at once."""
    with contextlib.suppress(SecureChatError):  # whatever it is, the page tells it
        client.wait_ready(_FIRST_ANSWER)
    if client.status.state is ConnectionState.REFUSED:
        st.session_state[_ERROR] = client.status.error
        end_chat()


def prefill(client: ChatClient) -> None:
    """Have the form show what was used before."""
    if client.profile:
        page_unlock.prefill(client)
        return
    st.session_state[_NAME], st.session_state[_BROKER] = client.user, client.broker.url
    st.session_state.pop(_ERROR, None)


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
