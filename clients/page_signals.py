"""What only a script in the page can do: count unread messages in the tab's title, and hand the focus to the composer."""

from __future__ import annotations

from typing import Final

import streamlit as st

# While the tab is hidden everything that arrives counts, also in the conversation on the screen.
_SCRIPT: Final = """
const NARROW = "(max-width: 768px)";

export default function ({ data, parentElement }) {
  // Streamlit calls this anew for new data, so what lasts stands beside the element, and there is one listener for all.
  const state = (parentElement.securechat ??= { seen: data.received, composer: data.composer });
  state.show = () => {
    if (!document.hidden) state.seen = data.received;
    const count = Math.max(data.elsewhere, data.received - state.seen);
    document.title = (count ? `(${count}) ` : "") + "SecureChat";
  };
  state.show();
  if (!state.listener) {
    state.listener = () => state.show();
    document.addEventListener("visibilitychange", state.listener);
  }
  if (state.composer !== data.composer) {
    state.composer = data.composer;
    if (matchMedia(NARROW).matches) document.querySelector("[data-testid=stSidebarCollapseButton] button")?.click();
    // On a phone the keyboard would cover what the person came to read.
    if (matchMedia("(pointer: fine)").matches) document.querySelector(`.st-key-${data.composer} textarea`)?.focus();
  }
  return () => {
    document.removeEventListener("visibilitychange", state.listener);
    state.listener = null;
  };
}
"""

_component: Final = st.components.v2.component("securechat.signals", js=_SCRIPT)


def signal(*, received: int, elsewhere: int, composer: str) -> None:
    """Tell the page's script how many messages came in all, how many are unread elsewhere, and which composer is in use."""
    _component(key="signals", data={"received": received, "elsewhere": elsewhere, "composer": composer})
