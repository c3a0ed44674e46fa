"""What only a script in the page can do: count unread messages in the tab's title, and hand the focus to the composer."""

from __future__ import annotations

from typing import Final

import streamlit as st

# While the tab is hidden everything that arrives counts, also in the conversation on the screen. The function is called
# anew with each new data, its return value only once, at the end: so there is one state, and one watcher of the title,
# which Streamlit sets, too. Two of them with different counts would set it in turns for ever.
_SCRIPT: Final = """
const NARROW = "(max-width: 768px)";
const begin = (data) => {
  const state = { data, seen: data.received, composer: "" };
  state.title = () => {
    if (!document.hidden) state.seen = state.data.received;
    const count = Math.max(state.data.elsewhere, state.data.received - state.seen);
    const wanted = (count ? `(${count}) ` : "") + "SecureChat";
    if (document.title !== wanted) document.title = wanted;
  };
  // The composer may be drawn, or be shown, only after this: then the focus follows as soon as it is there, unless the
  // person has begun to write elsewhere by then.
  state.focus = () => {
    const writing = document.activeElement?.matches("input, textarea");
    const composer = document.querySelector(`.st-key-${state.composer} textarea`);
    if (!writing && composer?.checkVisibility()) composer.focus();
    else if (!writing) return;
    state.body.disconnect();
  };
  state.body = new MutationObserver(state.focus);
  state.head = new MutationObserver(state.title);
  state.head.observe(document.head, { childList: true, subtree: true, characterData: true });
  document.addEventListener("visibilitychange", state.title);
  return state;
};
const end = () => {
  const state = document.securechat;
  if (!state) return;
  delete document.securechat;
  state.head.disconnect();
  state.body.disconnect();
  document.removeEventListener("visibilitychange", state.title);
  document.title = "SecureChat";
};
export default function ({ data }) {
  const state = (document.securechat ??= begin(data));
  state.data = data;
  state.title();
  if (state.composer !== data.composer) {
    state.composer = data.composer;
    if (matchMedia(NARROW).matches) document.querySelector("[data-testid=stSidebarCollapseButton] button")?.click();
    // On a phone the keyboard would cover what the person came to read.
    if (matchMedia("(pointer: fine)").matches) {
      state.body.observe(document.body, { childList: true, subtree: true, characterData: true, attributes: true });
      state.focus();
    }
  }
  return end;
}
"""

_component: Final = st.components.v2.component("securechat.signals", js=_SCRIPT)


def signal(*, received: int, elsewhere: int, composer: str) -> None:
    """Tell the page's script how many messages came in all, how many are unread elsewhere, and which composer is in use."""
    _component(key="signals", data={"received": received, "elsewhere": elsewhere, "composer": composer})
