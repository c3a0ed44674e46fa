"""What only a script in the page can do: the tab's title, the focus, and what of the log is in sight."""

from __future__ import annotations

from typing import Final

import streamlit as st

# While the tab is hidden everything that arrives counts, also in the conversation on the screen. The function is called
# anew with each new data, its return value only once, at the end: so there is one state, and one watcher of the title,
# which Streamlit sets, too. Two of them with different counts would set it in turns for ever.
_SCRIPT: Final = """
const NARROW = "(max-width: 768px)";
const begin = (data) => {
  const state = { data, seen: data.received, field: null, asked: 0 };
  state.title = () => {
    if (!document.hidden) state.seen = state.data.received;
    const count = Math.max(state.data.elsewhere, state.data.received - state.seen);
    const wanted = (count ? `(${count}) ` : "") + "SecureChat";
    if (document.title !== wanted) document.title = wanted;
  };
  // The field may be drawn, or be shown, only after this: then the focus follows as soon as it is there, unless the
  // person has begun to write elsewhere by then.
  state.focus = () => {
    const writing = document.activeElement?.matches("input, textarea") && document.activeElement.value;
    if (!state.field) return;
    const field = document.querySelector(`.st-key-${state.field} :is(textarea, input:not([type=file]))`);
    if (!writing && field?.checkVisibility()) field.focus();
    else if (!writing) return;
    state.body.disconnect();
  };
  state.body = new MutationObserver(state.focus);
  // Streamlit follows the end of a log when something is added to it: not when what is there grows, and also when the person
  // has asked for a line further up. That line is held until they scroll by themselves.
  const scroller = () => document.querySelector(".stMain");
  const wanted = () => state.held && document.getElementById(`line-${state.held}`);
  state.scrolled = ({ target }) => {
    if (!state.held && target === scroller()) state.atEnd = target.scrollHeight - target.scrollTop - target.clientHeight < 48;
  };
  state.hold = () => {
    const box = wanted()?.getBoundingClientRect();
    if (box && (box.top < 0 || box.bottom > innerHeight)) wanted().scrollIntoView({ block: "center" });
  };
  state.show = () => {
    const line = wanted();
    if (!line) return;
    state.lines.disconnect();
    line.scrollIntoView({ block: "center" });
    const easing = matchMedia("(prefers-reduced-motion: reduce)").matches ? "steps(1, end)" : "linear";
    line.animate([{ background: "#14938a44" }, { background: "transparent" }], { duration: 3000, easing });
  };
  state.letGo = () => {
    state.held = "";
    clearInterval(state.holding);
  };
  state.grown = new ResizeObserver(() => {
    if (!state.held && state.atEnd) scroller()?.scrollTo(0, scroller().scrollHeight);
  });
  state.follow = () => {  // what holds the log is another element once there is a composer
    const block = document.querySelector(".stMainBlockContainer");
    if (block === state.block) return;
    state.grown.disconnect();
    if ((state.block = block)) state.grown.observe(block);
  };
  // A conversation begins at its end, what was found at its beginning.
  state.startAt = (end) => {
    state.letGo();
    state.atEnd = end;
    scroller()?.scrollTo(0, end ? scroller().scrollHeight : 0);
  };
  state.lines = new MutationObserver(state.show);
  state.watch = (how) => {
    document[how]("scroll", state.scrolled, true);
    for (const one of ["wheel", "touchmove", "pointerdown", "keydown"]) document[how](one, state.letGo, true);
  };
  state.watch("addEventListener");
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
  state.grown.disconnect();
  state.letGo();
  state.watch("removeEventListener");
  document.removeEventListener("visibilitychange", state.title);
  document.title = "SecureChat";
};
export default function ({ data }) {
  const state = (document.securechat ??= begin(data));
  state.data = data;
  state.title();
  state.follow();
  if (state.field !== data.field) {
    state.field = data.field;
    state.startAt(data.field.startsWith("write-"));
    if (matchMedia(NARROW).matches) document.querySelector("[data-testid=stSidebarCollapseButton] button")?.click();
    // On a phone the keyboard would cover what the person came to read.
    if (matchMedia("(pointer: fine)").matches) {
      state.body.observe(document.body, { childList: true, subtree: true, characterData: true, attributes: true });
      state.focus();
    }
  }
  if (state.asked !== data.asked) {
    state.asked = data.asked;
    state.held = data.goto;
    clearInterval(state.holding);
    state.lines.observe(document.body, { childList: true, subtree: true });
    state.holding = setInterval(state.hold, 200);
    state.show();
  }
  return end;
}
"""

_component: Final = st.components.v2.component("securechat.signals", js=_SCRIPT)


def signal(*, received: int, elsewhere: int, field: str, goto: str, asked: int) -> None:
    """Tell the page's script what it cannot know.

    How many messages came in all, how many are unread elsewhere, the key of the field to write in (none has an empty one;
    a composer's begins with ``write-``), the key of the line that the person asked to see last, and how many times they
    asked to see one.
    """
    data = {"received": received, "elsewhere": elsewhere, "field": field, "goto": goto, "asked": asked}
    _component(key="signals", data=data)
