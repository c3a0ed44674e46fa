"""How the page looks: one style sheet and a logo. Colours derive from the text's own, so both themes are served."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

LOGO: Final = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32" width="32" height="32" aria-hidden="true">'
    '<path fill="#14938a" d="M6 3h20a4 4 0 0 1 4 4v13a4 4 0 0 1-4 4H14l-7 6v-6H6a4 4 0 0 1-4-4V7a4 4 0 0 1 4-4z"/>'
    '<path fill="#fff" d="M16 7a4 4 0 0 0-4 4v1.5h-.5A1.5 1.5 0 0 0 10 14v5a1.5 1.5 0 0 0 1.5 1.5h9A1.5 1.5 0 0 0 22 '
    '19v-5a1.5 1.5 0 0 0-1.5-1.5H20V11a4 4 0 0 0-4-4zm-2 4a2 2 0 1 1 4 0v1.5h-4z"/></svg>'
)

_RULES: Final = """
:root {
  --sc-accent: #14938a; --sc-wait: #b7791f;
  /* Text in these can be read on the page, the sidebar and a message, in either theme: WCAG AA. */
  --sc-good: light-dark(#0b5f58, #5fd0c2); --sc-bad: light-dark(#b3261e, #f28b82); --sc-on: light-dark(#fff, #0b1413);
  --sc-line: color-mix(in srgb, currentColor 14%, transparent);
  --sc-quiet: color-mix(in srgb, currentColor 68%, transparent);
}
/* What sticks to the top must hide what scrolls below it, in either theme's colour. */
.stAppViewContainer, .stAppViewContainer > div:has(> .stMain), .stMain, .stMainBlockContainer, .stMainBlockContainer > div,
[data-testid="stLayoutWrapper"]:has(> .st-key-head), .st-key-head { background: inherit; }
.stMainBlockContainer { padding-top: .75rem; padding-bottom: 1rem; max-width: 52rem; }
[data-testid="stBottomBlockContainer"] { padding: .25rem 1rem 1rem; max-width: 52rem; }
.stAppHeader { background: transparent; }
/* Nothing of it can be seen but its buttons, so nothing else of it may be in the way of what lies below. */
.stAppHeader, .stAppHeader :not(button, button *) { pointer-events: none !important; }
.stAppHeader button { pointer-events: auto; }
[data-testid="InputInstructions"] { display: none; }
[data-testid="stSidebarUserContent"] { padding-top: 0; padding-bottom: 1rem; }
[data-testid="stSidebarHeader"] { height: 2.5rem; margin-bottom: 0; }
/* What Streamlit keeps of something replaced, as long as it has the focus: it moved what took its place away from under the
   pointer, and gave that its place back as soon as it was pressed. */
[data-retained] { position: absolute !important; opacity: 0; pointer-events: none; }
.st-key-refresh, .st-key-refresh_broker, .st-key-signals { position: absolute; width: 0; height: 0; overflow: hidden; }
[data-testid="stLayoutWrapper"]:has(> .st-key-script) { position: absolute; }
.st-key-me button code, .st-key-head button code { color: inherit; background: none; padding: 0; }

.sc-hello { text-align: center; }
.sc-logo { width: 3rem; height: 3rem; margin: auto; }
.sc-hello div[role="heading"] { font-size: 1.75rem; font-weight: 700; line-height: 1.2; margin-top: .75rem; }
.sc-hello p { color: var(--sc-quiet); margin: .25rem 0 0; }
.st-key-connect { max-width: 30rem; margin: 4vh auto 0; }
.sc-fine { color: var(--sc-quiet); font-size: .82rem; line-height: 1.5; }
.sc-panel { border: 1px solid var(--sc-line); border-left: 3px solid var(--sc-wait); border-radius: .5rem;
  padding: .6rem .8rem; font-size: .92rem; overflow-wrap: anywhere; }
.sc-panel.sc-bad { border-left-color: var(--sc-bad); }
.sc-panel.sc-good { border-left-color: var(--sc-good); }

.sc-me { display: grid; gap: .1rem; font-size: .85rem; line-height: 1.45; }
.sc-me b { font-size: 1.05rem; overflow-wrap: anywhere; }
.sc-me span { color: var(--sc-quiet); }
.sc-dot { display: inline-block; width: .6rem; height: .6rem; border-radius: 50%; margin-right: .45rem; }
.sc-dot.online { background: #1fa971; }
.sc-dot.connecting { background: var(--sc-wait); animation: sc-pulse 1.2s ease-in-out infinite; }
.sc-dot.offline, .sc-dot.refused, .sc-dot.closed { background: var(--sc-bad); }
@keyframes sc-pulse { 50% { opacity: .25; } }
@media (prefers-reduced-motion: reduce) {
  .sc-dot.connecting { animation: none; }
  .sc-bar i { transition: none !important; }
}

[data-testid="stLayoutWrapper"]:has(> .st-key-head) { position: sticky; top: 0; z-index: 5; }
.st-key-head { border-bottom: 1px solid var(--sc-line); padding: .6rem 0 .4rem; }
.sc-head { font-size: .85rem; line-height: 1.35; overflow-wrap: anywhere; }
.sc-head b { display: block; font-size: 1.15rem; font-weight: 650; }
.sc-renewed { color: var(--sc-quiet); font-weight: 400; }
.sc-head span:not(.sc-warn, .sc-verified) { color: var(--sc-quiet); }
.st-key-elsewhere { display: none; }
.sc-head :is(.sc-warn, .sc-verified, .sc-renewed)::before { content: "· "; color: var(--sc-quiet); margin-left: .3em; }
.sc-warn { color: var(--sc-bad); font-weight: 600; }
.sc-verified { color: var(--sc-good); font-weight: 600; }

.sc-decide p { margin: .35rem 0 .5rem; font-size: inherit; }
.sc-keys { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; align-items: baseline; }
.sc-keys span { color: var(--sc-quiet); }
.sc-keys code, .sc-how code { color: inherit; background: none; padding: 0; }
.sc-number, .sc-columns { font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.sc-how { margin: 0; }
.sc-number { display: grid; grid-template-columns: repeat(4, max-content); gap: .4rem .7rem; font-size: 1.1rem; }

.st-key-again { align-self: flex-end; }
/* A short conversation stands at the bottom, beside where one writes; what was found begins at the top. */
.stMain > .stMainBlockContainer { flex: 1 0 auto; display: flex; flex-direction: column; }
.stMain > .stMainBlockContainer + div { flex: none; }
.stMainBlockContainer > .stVerticalBlock { flex: 1; }
[data-testid="stLayoutWrapper"]:has(> .stVerticalBlock > [data-testid="stLayoutWrapper"] > .st-key-script) { flex: 1; }
[data-testid="stLayoutWrapper"] > .stVerticalBlock:has(> [data-testid="stLayoutWrapper"] > .st-key-script) { flex: 1; }
.stVerticalBlock:has(> [data-testid="stLayoutWrapper"] > .st-key-script):not(:has(.st-key-found)) {
  justify-content: flex-end; }
.st-key-log { padding-bottom: .5rem; }
.sc-day { display: flex; align-items: center; gap: .8rem; margin: 1rem 0 .6rem; color: var(--sc-quiet); font-size: .78rem; }
.sc-day::before, .sc-day::after { content: ""; flex: 1; border-top: 1px solid var(--sc-line); }
.sc-system, .sc-refused { text-align: center; color: var(--sc-quiet); font-size: .8rem; margin: .35rem 0;
  overflow-wrap: anywhere; }
.sc-refused::before { content: "⊘ "; }
.sc-message { display: flex; flex-direction: column; align-items: flex-start; margin-top: .7rem; }
.sc-message.sc-follows { margin-top: .2rem; }
.sc-message.sc-mine { align-items: flex-end; }
.sc-who { font-size: .82rem; font-weight: 600; margin: 0 0 .15rem .2rem; overflow-wrap: anywhere; }
.sc-bubble { max-width: min(88%, 38rem); padding: .4rem .7rem .35rem; border-radius: .9rem; display: flex; flex-wrap: wrap;
  align-items: flex-end; column-gap: .7rem; background: color-mix(in srgb, currentColor 8%, transparent); }
.sc-theirs .sc-bubble { border-bottom-left-radius: .25rem; }
.sc-mine .sc-bubble { border-bottom-right-radius: .25rem; background: color-mix(in srgb, var(--sc-accent) 24%, transparent); }
.sc-text { white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.45; tab-size: 4; unicode-bidi: plaintext; }
.sc-columns { white-space: pre; overflow-x: auto; min-width: 0; font-size: .82rem; tab-size: 8; scrollbar-width: thin; }
/* As long as there is more of it to the right, it fades out there. */
@supports (animation-timeline: scroll()) {
  .sc-columns { animation: sc-more linear; animation-timeline: scroll(self inline); }
  @keyframes sc-more { 0%, 99% { mask-image: linear-gradient(to left, transparent, #000 3rem); } 100% { mask-image: none; } }
}
.sc-fold summary { cursor: pointer; color: var(--sc-quiet); font-size: .82rem; padding: .3rem 0; }
.sc-fold { flex-basis: 100%; }
.sc-meta { color: var(--sc-quiet); font-size: .7rem; line-height: 1.7; margin-left: auto; white-space: nowrap; }
.sc-tick.sc-fine { color: inherit; font-size: inherit; line-height: inherit; }
.sc-tick.sc-bad { color: var(--sc-bad); font-weight: 600; }
.sc-tick.sc-done { color: var(--sc-good); }
.st-key-found { gap: 0; }
[class*="st-key-hit-"] { padding: .7rem 0 .3rem; border-bottom: 1px solid var(--sc-line); }
[class*="st-key-hit-"] .sc-who { margin-left: 0; }
[class*="st-key-hit-"] .sc-who span { font-weight: 400; color: var(--sc-quiet); }
[class*="st-key-hit-"] button { min-height: 0; padding: .2rem 0; font-size: .82rem; color: var(--sc-quiet); }
.sc-empty { text-align: center; color: var(--sc-quiet); padding: 8vh 0 .5rem; }
.sc-empty b { display: block; font-size: 1.05rem; color: color-mix(in srgb, currentColor 100%, CanvasText 60%); }

[class*="st-key-card-"] { width: min(88%, 24rem); padding: .5rem .7rem .35rem; border-radius: .9rem; margin-top: .4rem;
  background: color-mix(in srgb, currentColor 8%, transparent); }
[data-testid="stLayoutWrapper"]:has(> [class*="st-key-card-mine-"]) { align-items: flex-end; }
[class*="st-key-card-theirs-"] { border-bottom-left-radius: .25rem; }
[class*="st-key-card-mine-"] { margin-left: auto; border-bottom-right-radius: .25rem;
  background: color-mix(in srgb, var(--sc-accent) 24%, transparent); }
[class*="st-key-card-"] button { min-height: 2rem; padding: .1rem .7rem; margin-bottom: .2rem; }
[class*="st-key-row-"] { flex-wrap: nowrap; }
[class*="st-key-row-"] > :first-child { min-width: 0; flex: 1; }
[class*="st-key-row-"] button { white-space: nowrap; }
[class*="st-key-card-"] .sc-meta { text-align: right; }
.sc-file { display: flex; gap: .6rem; align-items: center; min-width: 0; line-height: 1.35; }
.sc-file div { min-width: 0; }
.sc-file b { display: block; font-weight: 600; font-size: .95rem; overflow-wrap: anywhere; unicode-bidi: plaintext; }
.sc-file div span { color: var(--sc-quiet); font-size: .8rem; }
.sc-icon { flex: none; display: grid; place-items: center; width: 2.2rem; height: 2.6rem; border-radius: .3rem;
  font-size: .6rem; font-weight: 700; color: var(--sc-quiet); border: 1px solid var(--sc-line); }
.sc-bar { height: .3rem; border-radius: .15rem; overflow: hidden; background: var(--sc-line); margin: .45rem 0 .2rem; }
.sc-bar i { display: block; height: 100%; background: var(--sc-accent); transition: width .4s linear; }
.sc-far { color: var(--sc-quiet); font-size: .78rem; font-variant-numeric: tabular-nums; }
.sc-why { font-size: .85rem; line-height: 1.45; color: var(--sc-quiet); margin: .4rem 0; overflow-wrap: anywhere; }
.sc-why b { font-weight: 600; color: var(--sc-bad); }
.sc-picture { display: block; margin-bottom: .4rem; }
.sc-picture img { display: block; max-width: 100%; max-height: 22rem; border-radius: .5rem; }

/* The refreshing part of the page is redrawn every two seconds: dimmed each time that takes long, it would flicker. */
[data-stale="true"] { opacity: 1 !important; transition: none !important; }
/* White on the dark theme's bright green could hardly be read. */
[data-testid^="stBaseButton-primary"], [data-testid^="stBaseButton-primary"]:is(:hover, :focus, :active) {
  color: var(--sc-on); }
[data-testid="stChatInputSubmitButton"]:not(:disabled) { color: var(--sc-on) !important; }

.st-key-me { margin-bottom: .75rem; }
.st-key-me button, .st-key-head button { min-height: 0; padding: 0; font-size: .85rem; color: var(--sc-quiet); }
[class*="st-key-to-"] button, [class*="st-key-to-"] button > * { justify-content: flex-start; text-align: left; }
[class*="st-key-to-"] button { min-height: 2.25rem; padding: .3rem .75rem; }
/* A long name is shortened; what stands beside it is not. */
[class*="st-key-to-"] button :is(div, span):has(p) { flex: 1; min-width: 0; }
[class*="st-key-to-"] button p { display: flex; align-items: center; gap: .4rem; width: 100%; white-space: nowrap; }
[class*="st-key-to-"] button p > * { flex: none; }
[class*="st-key-to-"] button p > em { flex: 0 1 auto; font-style: normal; min-width: 0; overflow: hidden;
  text-overflow: ellipsis; }
[class*="st-key-to-"] .stMarkdownBadge { margin-left: auto !important; color: var(--sc-on) !important;
  background: light-dark(#0f766e, #2fb5a5) !important; }
.st-key-suite [data-testid="stRadioCaption"] * { color: inherit; opacity: .9; }
/* With many people in it this list scrolls by itself: what stands below stays in reach. */
.st-key-people { max-height: max(12rem, 100dvh - 22rem); overflow-y: auto; }
/* Streamlit shows it to whose mouse is there. */
[data-testid="stSidebarCollapseButton"] { visibility: visible !important; }
[data-testid="stSidebarCollapseButton"] button:focus-visible { outline: 2px solid; outline-offset: 2px; }

/* What goes somewhere else and has no border is underlined. */
:is(.st-key-elsewhere, .st-key-verify, .st-key-found-back, .st-key-older, .st-key-name-found, [class*="st-key-hit-"])
  button[kind="tertiary"] {
  text-decoration: underline var(--sc-quiet); text-underline-offset: .2em; }
.st-key-verify button { padding: 0 .3rem; margin-left: -.3rem; width: max-content; }
.st-key-verify button p { white-space: nowrap; }
/* These frames keep the time, and there is nothing in them to see or to reach. */
:is(.st-key-refresh, .st-key-refresh_broker) iframe { visibility: hidden; }
@media (hover: none) {
  [data-testid="stCode"] > div:has([data-testid="stElementToolbarButton"]),
  [data-testid="stCode"] > div:has([data-testid="stElementToolbarButton"]) * { visibility: visible !important;
    opacity: 1 !important; }
}

@media (max-width: 768px) {
  .st-key-head { padding-left: 2.75rem; flex-flow: row wrap; align-items: center; justify-content: space-between; }
  .st-key-head > * { width: auto !important; }
  .st-key-head > :first-child { flex: 1 1 8rem; min-width: 0; }
  .st-key-verify { flex: none; }
  .st-key-verify code { display: none; }
  /* A finger is wider than a line. */
  .st-key-head button, .st-key-me button, [class*="st-key-hit-"] button { min-height: 2.5rem; }
  .sc-keys { grid-template-columns: 1fr; gap: 0; }
  .sc-number { font-size: 1rem; gap: .35rem .55rem; }
  .sc-keys span { margin-bottom: .3rem; }
  .st-key-elsewhere { display: block; flex: 1 0 100%; order: 3; }
  .st-key-elsewhere button, .st-key-elsewhere button > * { justify-content: flex-start; text-align: left; }
  .st-key-elsewhere button { color: var(--sc-good); }
}
"""

# An image in HTML would not get past Streamlit's sanitiser.
STYLE: Final = f"""<style>{_RULES}
.sc-logo {{ background: center / contain no-repeat url("data:image/svg+xml,{quote(LOGO)}"); }}
</style>"""
