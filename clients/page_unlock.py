"""The page's way into a profile: unlocking one, and making one.

A passphrase is taken out of the session's state as soon as it is there; the unlocked profile is all that keeps it.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Final

import streamlit as st

from clients.chat import ChatClient
from clients.config_file import with_config
from clients.discovery import choose_broker
from clients.keystore import Keystore, choose_home
from clients.making import make_profile
from clients.page_broker import local_broker, say_error, typed_broker, wait_for_broker
from clients.page_log import plain
from clients.page_state import begin_chat
from clients.profiles import OpenProfile
from core.address import BrokerAddress
from core.errors import KeystoreLocked, NoBrokerFound, SecureChatError
from core.names import check_name, normalise_name

_PROFILE: Final = "profile"  # in the page's address, too
_BROKER, _PASSPHRASE = "profile_broker", "passphrase"
FIELD: Final = _PASSPHRASE  # what is written in to come back
_NAME, _FIRST, _SECOND, _INVITE = "new_name", "new_passphrase", "new_passphrase_again", "new_broker"
_ERROR, _MAKE_ERROR, _MADE = "unlock_error", "make_error", "made"


class PassphraseMissing(SecureChatError):
    """This profile has a passphrase: type it to unlock the profile."""


class PassphrasesDiffer(SecureChatError):
    """The two passphrases are not the same, so nothing was made."""

    hint = "Type both again."


def asked_for() -> bool:
    """Whether the page's address names a profile of this machine: somebody was unlocked here before a reload."""
    return st.query_params.get(_PROFILE) in Keystore.names(_home())


def show() -> None:
    """Draw the forms."""
    names = Keystore.names(_home())
    if names:
        if st.session_state.get(_PROFILE) not in names:
            asked = st.query_params.get(_PROFILE)
            st.session_state[_PROFILE] = asked if asked in names else names[0]
        if made := st.session_state.get(_MADE):
            st.html(f'<div class="sc-panel sc-good" role="status"><b>{plain(made)}</b></div>')
        st.selectbox("Profile", names, key=_PROFILE, on_change=_forget_errors)
        _unlock_form(st.session_state[_PROFILE], ask_broker=True)
    if isinstance(st.session_state.get(_ERROR), NoBrokerFound):
        wait_for_broker()
    with st.expander("Make a new profile", expanded=not names):
        _make_form(alone=not names)
    st.html(
        '<p class="sc-fine">A profile keeps its keys and what was said on the machine that runs this page, and the broker '
        "keeps its name for it. Reload the tab, and it is locked again. The command line uses the same profiles, and makes "
        "them, too: <code>securechat-cli init NAME</code>.</p>"
    )


def show_again(client: ChatClient) -> None:
    """Draw what unlocks the profile of a client that will not be online again."""
    _unlock_form(client.user, broker=client.broker)


def prefill(client: ChatClient) -> None:
    """Have the form show the profile that was used before."""
    st.session_state[_PROFILE] = client.user
    _forget_errors()


def _home() -> Path:
    return choose_home(None, with_config(os.environ))


def _forget_errors() -> None:
    for key in (_ERROR, _MAKE_ERROR, _MADE):
        st.session_state.pop(key, None)


def _unlock_form(name: str, *, broker: BrokerAddress | None = None, ask_broker: bool = False) -> None:
    error: SecureChatError | None = st.session_state.get(_ERROR)
    locked = False
    try:
        locked = Keystore(_home(), name).needs_passphrase
    except SecureChatError as trouble:
        error = trouble
    with st.form("unlock_form", border=ask_broker):
        if locked:
            st.text_input("Passphrase", key=_PASSPHRASE, type="password", autocomplete="current-password")
        if ask_broker:
            st.text_input("Broker", key=_BROKER, placeholder="the one it belongs to", autocomplete="off")
        if not isinstance(error, NoBrokerFound):
            say_error(error)
        st.form_submit_button("Unlock", type="primary", width="stretch", on_click=_unlock, args=(name, broker))


def _make_form(*, alone: bool) -> None:
    with st.form("make_form", border=False):
        st.text_input("Name", key=_NAME, placeholder="alice", autocomplete="off")
        st.text_input("Passphrase, or nothing", key=_FIRST, type="password", autocomplete="new-password")
        st.text_input("The same once more", key=_SECOND, type="password", autocomplete="new-password")
        st.text_input(
            "Broker, or the invite you were given", key=_INVITE, placeholder="the one of this machine", autocomplete="off"
        )
        say_error(st.session_state.get(_MAKE_ERROR))
        st.form_submit_button("Make profile", type="primary" if alone else "secondary", width="stretch", on_click=_make)
        st.html(
            '<p class="sc-fine">The passphrase encrypts the keys on disk. Without one, whoever can read your files can read '
            "them. Nobody can tell you a passphrase that you have forgotten.</p>"
        )


def _taken_out(key: str) -> str:
    text: str = st.session_state.get(key, "")
    st.session_state[key] = ""
    return text


def _unlock(name: str, broker: BrokerAddress | None) -> None:
    passphrase = _taken_out(_PASSPHRASE)
    _forget_errors()
    try:
        _begin(OpenProfile(_home(), name, passphrase), broker)
    except KeystoreLocked:
        st.session_state[_ERROR] = PassphraseMissing()
    except SecureChatError as error:
        st.session_state[_ERROR] = error


def _make() -> None:
    first, second = _taken_out(_FIRST), _taken_out(_SECOND)
    address: BrokerAddress | None = None
    _forget_errors()
    try:
        name = check_name(normalise_name(st.session_state[_NAME]))
        if first != second:
            raise PassphrasesDiffer
        with contextlib.suppress(NoBrokerFound):
            invited = st.session_state[_INVITE].strip()
            address = BrokerAddress.parse(invited) if invited else _broker(None)
        profile, _ = make_profile(_home(), name, first, address)
    except SecureChatError as error:
        st.session_state[_MAKE_ERROR] = error
        return
    st.session_state[_NAME] = st.session_state[_INVITE] = ""
    st.session_state[_PROFILE] = name
    if address is None:
        profile.close()
        st.session_state[_MADE] = f"{name} is made. Its name is claimed when it first connects to a broker."
        return
    _begin(profile, replace(address, invite=None))  # by its own key from now on


def _begin(profile: OpenProfile, broker: BrokerAddress | None) -> None:
    try:
        address = broker or _broker(profile.broker)
        client = ChatClient(profile, address, events=False)
    except SecureChatError:
        profile.close()
        raise
    st.query_params.from_dict({_PROFILE: profile.user})
    begin_chat(client, broker_is_local=local_broker()[0] == address.url)


def _broker(own: BrokerAddress | None) -> BrokerAddress:
    """The broker that was typed, else the profile's own, else the page's; raises NoBrokerFound and BadAddress."""
    typed = typed_broker(st.session_state.get(_BROKER, ""))
    return typed or choose_broker(None, {} if own else with_config(os.environ), fallback=own)
