"""Whom to believe: the marks beside a name, the safety number to compare, and what to do about a key that changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import streamlit as st

from clients.chat import Peer
from clients.others import Others
from clients.page_log import literal, plain
from clients.page_state import Chat
from clients.qr import qr_svg
from clients.view import clock, day
from core.errors import PeerUnknown, SecureChatError
from core.events import Trust
from core.memory import Pin
from core.names import EVERYONE, fingerprint, short_fingerprint

_MARKS: Final = {Trust.VERIFIED: ":green[✓]", Trust.CHANGED: ":red[⚠]", Trust.BLOCKED: ":gray[blocked]"}
_BADGES: Final = {
    Trust.VERIFIED: '<span class="sc-verified">✓ verified</span>',
    Trust.RENEWED: '<span class="sc-renewed">with a new key</span>',
    Trust.CHANGED: '<span class="sc-warn">⚠ another key than before</span>',
    Trust.BLOCKED: '<span class="sc-warn">blocked by you</span>',
}


def trust_of(chat: Chat, name: str, peer: Peer | None) -> Trust:
    """How somebody stands, here or not."""
    if peer is not None:
        return peer.trust
    others = chat.client.others
    return others.standing(name) if others else Trust.NEW


def mark(trust: Trust) -> str:
    """The mark in a label that Streamlit reads as Markdown; mostly none."""
    return _MARKS.get(trust, "")


def badge(trust: Trust) -> str:
    """The same in words, as HTML."""
    return _BADGES.get(trust, "")


def draw_verify(chat: Chat) -> None:
    """Draw what leads to the safety number of the conversation on the screen, where there is one."""
    found = _look(chat, chat.current)
    if found is None:
        return
    _, pin = found
    kid = short_fingerprint(pin.offered or pin.kid)
    st.button(f"Verify `{kid}`", key="verify", type="tertiary", on_click=chat.compare, args=(chat.current,))


def must_decide(chat: Chat) -> bool:
    """Whether nothing is sent to the person in the conversation on the screen before something is decided."""
    found = _look(chat, chat.current)
    return found is not None and (found[1].offered is not None or found[1].blocked)


def draw_decision(chat: Chat) -> None:
    """Draw what has to be decided about the person in the conversation on the screen before anything is sent to them."""
    found = _look(chat, chat.current)
    if found is None:
        return
    others, pin = found
    peer = pin.user
    if pin.offered is not None:
        _say_changed(pin)
    elif pin.blocked:
        _panel(f"You have blocked {peer}.", f"<p>Nothing is sent to {plain(peer)}, and nothing is taken from them.</p>")
    else:
        return
    with st.container(key="decide", horizontal=True, gap="small"):
        if pin.offered is not None:
            st.button("Compare", key="compare", type="primary", on_click=chat.compare, args=(peer,))
            label = "Accept and unblock" if pin.blocked else "Accept the new key"
            _decision(chat, label, "accept", lambda: others.trust(pin))
            if not pin.blocked:
                _decision(chat, "Block", "block", lambda: others.block(peer))
        else:
            _decision(chat, "Unblock", "unblock", lambda: others.trust(pin))
    if chat.undecided and not chat.comparing:
        _panel(f"⚠ {chat.undecided}", "<p>Look again before you decide.</p>")


def _say_changed(pin: Pin) -> None:
    peer, at = plain(pin.user), (pin.offered_at or 0) / 1000
    known = f"verified on {day(pin.verified / 1000)}" if pin.verified else f"known since {day(pin.since / 1000)}"
    blocked = f" You have blocked {peer}." if pin.blocked else ""
    _panel(
        f"⚠ {pin.user} uses another key than the one you know.",
        f"<p>Seen on {plain(day(at))} at {clock(at)}. Either {peer} has a new device, or somebody else has taken the name, or "
        f"somebody sits between you. To find out, compare numbers over another channel, such as a call.{blocked} Until you "
        "decide, nothing is sent to the new key and nothing is taken from it; what you have typed stays.</p>"
        f'<div class="sc-keys"><code>{short_fingerprint(pin.kid)}</code><span>{plain(known)}</span>'
        f"<code>{short_fingerprint(pin.offered or b'')}</code><span>in use now</span></div>",
    )


def show_number(chat: Chat, peer: str) -> None:
    """Open the dialog with the number to compare with ``peer``."""
    # A dialog opened by a whole run of the page belongs to none of its fragments, so none that refreshes closes it.
    st.dialog(f"Verify {literal(peer)}", on_dismiss=lambda: chat.compare(None))(_dialog)(chat, peer)


def _dialog(chat: Chat, peer: str) -> None:
    found = _look(chat, peer) if chat.comparing else None
    if found is None:
        st.rerun()
    others, pin = found
    number = others.number(pin)
    changed = pin.offered is not None
    which = " The number is that of the key in use now." if changed else ""
    me = plain(others.user)
    command = (
        f"having heard from you, with <code>securechat-cli verify {me}</code>"
        if pin.profile
        else (f"in <code>securechat-cli chat</code>, with <code>/verify {me}</code>")
    )
    st.html(
        f'<p class="sc-how">If {plain(peer)} sees the same number, nobody sits between you. Compare over another channel, such '
        f"as a call, or side by side.{which} {plain(peer)} finds it on the page under Verify or, {command}.</p>"
    )
    groups = "".join(f"<span>{group}</span>" for group in number.split())
    with st.container(key="number", horizontal=True, horizontal_alignment="center", vertical_alignment="center"):
        st.html(f'<div class="sc-number" role="group" aria-label="Safety number">{groups}</div>', width="content")
        st.image(qr_svg(number), width=168, alt="The same number as a QR code")
    if pin.verified and not changed:
        _state("sc-good", f"✓ {peer} is verified since {day(pin.verified / 1000)}.")
    if pin.blocked:
        _state("sc-bad", f"You have blocked {peer}. Verifying ends that, too.")
    if chat.undecided:
        _state("sc-bad", f"{chat.undecided} This is the number for the key in use now.")
    with st.container(key="judge", horizontal=True, gap="small"):
        if changed or not pin.verified or pin.blocked:
            _decision(chat, "They match: mark as verified", "verified", lambda: others.verify(pin), kind="primary")
        if not pin.blocked:
            _decision(chat, f"Block {literal(peer)}", "block-compared", lambda: others.block(peer))
        elif not changed:
            _decision(chat, "Unblock", "unblock-compared", lambda: others.trust(pin))
    if chat.client.profile is None:
        st.html('<div class="sc-fine">You are a guest: what you decide here is forgotten with you.</div>')
    with st.expander("Fingerprints of both keys"):
        theirs = fingerprint(pin.offered or pin.kid)
        st.code(f"{peer}\n{theirs}", language=None, wrap_lines=True)
        st.code(f"{others.user} (you)\n{fingerprint(others.kid)}", language=None, wrap_lines=True)


def _look(chat: Chat, peer: str) -> tuple[Others, Pin] | None:
    others = chat.client.others
    if others is None or peer == EVERYONE:
        return None
    try:
        return others, others.pin(peer)
    except PeerUnknown:
        return None


def _decision(chat: Chat, label: str, key: str, decide: Callable[[], Pin], *, kind: str = "secondary") -> None:
    # The callback holds the pin that is on the screen: a key that came since then is not what was decided about.
    st.button(label, key=key, type="primary" if kind == "primary" else "secondary", on_click=_take, args=(chat, decide))


def _take(chat: Chat, decide: Callable[[], Pin]) -> None:
    try:
        pin = decide()
    except SecureChatError as error:
        chat.undecided = error
        return
    chat.compare(None)
    chat.refusals.pop(pin.user, None)


def _panel(title: str, body: str) -> None:
    st.html(f'<div class="sc-panel sc-bad sc-decide" role="alert"><b>{plain(title)}</b>{body}</div>')


def _state(kind: str, text: str) -> None:
    st.html(f'<div class="sc-panel {kind}" role="status">{plain(text)}</div>')
