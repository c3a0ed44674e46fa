"""What the page's forms share: the broker of this machine, waiting for one, and what went wrong."""

from __future__ import annotations

import os
from typing import Final

import streamlit as st
from streamlit_autorefresh import st_autorefresh

from clients.config_file import with_config
from clients.discovery import choose_broker
from clients.page_hints import advice
from clients.page_log import plain
from core.address import BrokerAddress
from core.errors import NoBrokerFound, SecureChatError

REFRESH_MS: Final = 2000


class InviteMisplaced(SecureChatError):
    """This line is an invite. Whoever has one makes a profile with it."""

    hint = "Choose Profile, then 'Make a new profile', and paste it there."


def local_broker() -> tuple[str, SecureChatError | None]:
    """The address of the broker of this machine or, if there is none, an empty text and perhaps why."""
    try:
        return choose_broker(None, with_config(os.environ)).url, None
    except NoBrokerFound:
        return "", None
    except SecureChatError as error:
        return "", error


def typed_broker(text: str) -> BrokerAddress | None:
    """The broker that was typed, if one was; raises BadAddress and InviteMisplaced."""
    if not text.strip():
        return None
    address = BrokerAddress.parse(text)
    if address.invite is not None:
        raise InviteMisplaced
    return address


@st.fragment
def wait_for_broker() -> None:
    """Say that no broker runs here, until one does."""
    st_autorefresh(interval=REFRESH_MS, key="refresh_broker")
    if local_broker()[0]:
        st.rerun()
    st.html(
        '<div class="sc-panel"><b>No broker is running on this machine.</b> Start one in a terminal, and this page will '
        f"find it by itself, or paste the <code>{plain('securechat://')}</code> line of another.</div>"
    )
    st.code("make broker", language=None)


def say_error(error: SecureChatError | None, *, hint: str = "") -> None:
    """Show an error's own sentence, and its advice, or this one."""
    if error is not None:
        hint = hint or advice(error)
        st.html(f'<div class="sc-panel sc-bad" role="alert"><b>{plain(str(error))}</b> {plain(hint)}</div>')
