"""What only a script in the page can do: the tab's title, the focus, what of the log is in sight, and what did not arrive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import streamlit as st

# While the tab is hidden everything that arrives counts, also in the conversation on the screen. The function is called
# anew with each new data, its return value only once, at the end: so there is one state, and one watcher of the title,
# which Streamlit sets, too. Two of them with different counts would set it in turns for ever.
_SCRIPT: Final = """
const NARROW = "(max-width: 768px)";
const begin = (data) => {
  const state = { data, seen: data.received, field: null, asked: 0, missed: 0 };
  state.title = () => {
    if (!document.hidden) state.seen = state.data.received;
    const count = Math.max(state.data.elsewhere, state.data.received - state.seen);
    const wanted = (count ? `(${count}) ` : "") + "SecureChat";
    if (document.title !== wanted) document.title = wanted;
  };
  // The field may be drawn, or be shown, only after this: then the focus follows as soon as it is there, unless the
  // person has turned to something else by then. Out of a form that is on its way out it follows once that is gone.
  state.focus = () => {
    const field = state.field && document.querySelector(`.st-key-${state.field} :is(textarea, input:not([type=file]))`);
    const now = document.activeElement;
    const chosen = now?.matches("input, textarea") && (!now.offered || now.value);
    if (chosen || !field?.checkVisibility()) return;
    field.offered = true;  // stays with the field, also when this script begins anew
    field.focus();
    state.body.disconnect();
  };
  state.body = new MutationObserver(state.focus);
  // Streamlit follows the end of a log when something is added to it: not when what is there grows, and also when the person
  // has asked for a line further up. That line is held until they scroll by themselves.
  const scroller = () => document.querySelector(".stMain");
  const wanted = () => state.held && document.getElementById(`line-${state.held}`);
  state.hold = () => {
    const box = wanted()?.getBoundingClientRect();
    if (box && (box.top < 0 || box.bottom > innerHeight)) wanted().scrollIntoView({ block: "center" });
  };
  state.scrolled = ({ target }) => {
    if (target !== scroller()) return;
    if (state.held) state.hold();
    else state.atEnd = target.scrollHeight - target.scrollTop - target.clientHeight < 48;
  };
  state.show = () => {
    const line = wanted();
    if (!line) return;
    state.lines.disconnect();
    line.scrollIntoView({ block: "center" });
    const easing = matchMedia("(prefers-reduced-motion: reduce)").matches ? "steps(1, end)" : "linear";
    line.animate([{ background: "#14938a44" }, { background: "transparent" }], { duration: 3000, easing });
  };
  state.turned = () => {
    state.held = "";
    state.body.disconnect();
  };
  state.grown = new ResizeObserver(() => {
    if (state.held) state.hold();
    else if (state.atEnd) scroller()?.scrollTo(0, scroller().scrollHeight);
  });
  state.follow = () => {  // what holds the log is another element once there is a composer
    const block = document.querySelector(".stMainBlockContainer");
    if (block === state.block) return;
    state.grown.disconnect();
    if ((state.block = block)) state.grown.observe(block);
  };
  // A conversation begins at its end, what was found at its beginning.
  state.startAt = (end) => {
    state.held = "";
    state.atEnd = end;
    scroller()?.scrollTo(0, end ? scroller().scrollHeight : 0);
  };
  // Where a refresh comes in just as a whole drawing is done, Streamlit throws away what of the drawing it has not sent yet.
  // Its number is what is sent last of it.
  state.look = () => {
    const drawn = Number(document.querySelector(".sc-drawing")?.dataset.number ?? 0);
    state.missed = drawn < state.data.drawing ? state.missed + 1 : 0;
    if (state.missed < 2) return;
    state.missed = -8;  // it takes a moment
    state.lose(Date.now());
  };
  state.looking = setInterval(state.look, 300);
  state.lines = new MutationObserver(state.show);
  state.watch = (how) => {
    document[how]("scroll", state.scrolled, true);
    for (const one of ["wheel", "touchmove", "pointerdown", "keydown"]) document[how](one, state.turned, true);
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
  clearInterval(state.looking);
  state.watch("removeEventListener");
  document.removeEventListener("visibilitychange", state.title);
  document.title = "SecureChat";
};
export default function ({ data, setTriggerValue }) {
  const state = (document.securechat ??= begin(data));
  state.data = data;
  state.lose = (when) => setTriggerValue("lost", when);
  state.title();
  state.follow();
  if (state.field !== data.field) {
    // At first it is closed on a phone, and whoever has opened it by now wants it open.
    if (state.field !== null && matchMedia(NARROW).matches) {
      document.querySelector("[data-testid=stSidebarCollapseButton] button")?.click();
    }
    state.field = data.field;
    state.startAt(data.field.startsWith("write-"));
    // On a phone the keyboard would cover what the person came to read.
    if (matchMedia("(pointer: fine)").matches) {
      state.body.observe(document.body, { childList: true, subtree: true, characterData: true, attributes: true });
      state.focus();
    }
  }
  if (state.asked !== data.asked) {
    state.asked = data.asked;
    state.held = data.goto;
    state.lines.observe(document.body, { childList: true, subtree: true });
    state.show();
  }
  return end;
}
"""

_component: Final = st.components.v2.component("securechat.signals", js=_SCRIPT)


def signal(*, received: int, elsewhere: int, field: str, goto: str, asked: int, drawing: int, lost: Callable[[], None]) -> None:
    """Tell the page's script what it cannot know.

    How many messages came in all, how many are unread elsewhere, the key of the field to write in (none has an empty one;
    a composer's begins with ``write-``), the key of the line that the person asked to see last, how many times they
    asked to see one, and the number of the last whole drawing: ``lost`` is called where the page has not got to its end.
    """
    data = {
        "received": received,
        "elsewhere": elsewhere,
        "field": field,
        "goto": goto,
        "asked": asked,
        "drawing": drawing,
    }
    _component(key="signals", data=data, on_lost_change=lost)
