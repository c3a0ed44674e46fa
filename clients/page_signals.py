"""What only a script in the page can do: the tab's title, the focus, and bringing a line into sight."""

from __future__ import annotations

from typing import Final

import streamlit as st

# While the tab is hidden everything that arrives counts, also in the conversation on the screen. The function is called
# anew with each new data, its return value only once, at the end: so there is one state, and one watcher of the title,
# which Streamlit sets, too. Two of them with different counts would set it in turns for ever.
_SCRIPT: Final = """
const NARROW = "(max-width: 768px)";
const begin = (data) => {
  const state = { data, seen: data.received, composer: null, goto: "" };
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
    if (!state.composer) return;
    const composer = document.querySelector(`.st-key-${state.composer} textarea`);
    if (!writing && composer?.checkVisibility()) composer.focus();
    else if (!writing) return;
    state.body.disconnect();
  };
  state.show = () => {
    const line = document.getElementById(`line-${state.goto}`);
    if (!line) return;
    state.lines.disconnect();
    line.scrollIntoView({ block: "center" });
    line.animate([{ background: "#14938a44" }, { background: "transparent" }], 3000);
  };
  state.lines = new MutationObserver(state.show);
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
  state.lines.disconnect();
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
  if (state.goto !== data.goto) {
    state.goto = data.goto;
    state.lines.observe(document.body, { childList: true, subtree: true });
    state.show();
  }
  return end;
}
"""

_component: Final = st.components.v2.component("securechat.signals", js=_SCRIPT)


def signal(*, received: int, elsewhere: int, composer: str, goto: str) -> None:
    """Tell the page's script what it cannot know.

    How many messages came in all, how many are unread elsewhere, which composer is in use (none has an empty name), and the
    key of the line that the person asked to see last.
    """
    _component(key="signals", data={"received": received, "elsewhere": elsewhere, "composer": composer, "goto": goto})
