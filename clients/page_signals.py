"""What only a script in the page can do: count unread messages in the tab's title, and hand the focus to the composer."""

from __future__ import annotations

from typing import Final

import streamlit as st

# While the tab is hidden everything that arrives counts, also in the conversation on the screen.
_SCRIPT: Final = """
export default function ({ data, parentElement }) {
  const state = (parentElement.securechat ??= { seen: data.received, composer: data.composer });
  const title = () => {
    if (!document.hidden) state.seen = data.received;
    const count = Math.max(data.elsewhere, data.received - state.seen);
    const wanted = (count ? `(${count}) ` : "") + "SecureChat";
    if (document.title !== wanted) document.title = wanted;
  };
  title();
  document.addEventListener("visibilitychange", title);
  const head = new MutationObserver(title);
  head.observe(document.head, { childList: true, subtree: true, characterData: true });
  if (state.composer !== data.composer) {
    state.composer = data.composer;
    // On a phone the keyboard would cover what the person came to read.
    if (matchMedia("(pointer: fine)").matches) document.querySelector(`.st-key-${data.composer} textarea`)?.focus();
  }
  return () => { document.removeEventListener("visibilitychange", title); head.disconnect(); };
}
"""

_component: Final = st.components.v2.component("securechat.signals", js=_SCRIPT)


def signal(*, received: int, elsewhere: int, composer: str) -> None:
    """Tell the page's script how many messages came in all, how many are unread elsewhere, and which composer is in use."""
    _component(key="signals", data={"received": received, "elsewhere": elsewhere, "composer": composer})
