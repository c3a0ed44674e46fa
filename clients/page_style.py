"""How the page looks: one style sheet and a logo. Colours derive from the text's own, so both themes are served."""

from __future__ import annotations

from typing import Final

LOGO: Final = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32" width="32" height="32" aria-hidden="true">'
    '<path fill="#14938a" d="M6 3h20a4 4 0 0 1 4 4v13a4 4 0 0 1-4 4H14l-7 6v-6H6a4 4 0 0 1-4-4V7a4 4 0 0 1 4-4z"/>'
    '<path fill="#fff" d="M16 7a4 4 0 0 0-4 4v1.5h-.5A1.5 1.5 0 0 0 10 14v5a1.5 1.5 0 0 0 1.5 1.5h9A1.5 1.5 0 0 0 22 '
    '19v-5a1.5 1.5 0 0 0-1.5-1.5H20V11a4 4 0 0 0-4-4zm-2 4a2 2 0 1 1 4 0v1.5h-4z"/></svg>'
)

STYLE: Final = """<style>
:root {
  --sc-accent: #14938a; --sc-good: #14938a; --sc-wait: #b7791f; --sc-bad: #d64545;
  --sc-line: color-mix(in srgb, currentColor 14%, transparent);
  --sc-quiet: color-mix(in srgb, currentColor 62%, transparent);
}
.stMainBlockContainer { padding-top: 1.25rem; padding-bottom: 1rem; max-width: 52rem; }
.stAppHeader { background: transparent; }
[data-testid="stSidebarUserContent"] { padding-top: 0; padding-bottom: 1rem; }
[data-testid="stSidebarHeader"] { height: 2.5rem; margin-bottom: 0; }
.st-key-refresh, .st-key-refresh_broker, .st-key-signals { position: absolute; width: 0; height: 0; overflow: hidden; }
code.sc-kid { font-size: .8em; padding: 0; background: none; color: inherit; }

.sc-hello { text-align: center; }
.sc-hello svg { width: 3rem; height: 3rem; }
.sc-hello h1 { font-size: 1.75rem; padding: .25rem 0 0; }
.sc-hello p { color: var(--sc-quiet); margin: .25rem 0 0; }
.st-key-connect { max-width: 30rem; margin: 4vh auto 0; }
.sc-fine { color: var(--sc-quiet); font-size: .82rem; line-height: 1.5; }
.sc-panel { border: 1px solid var(--sc-line); border-left: 3px solid var(--sc-wait); border-radius: .5rem;
  padding: .6rem .8rem; font-size: .92rem; overflow-wrap: anywhere; }
.sc-panel.sc-bad { border-left-color: var(--sc-bad); }
.sc-panel.sc-good { border-left-color: var(--sc-good); }

.sc-me { display: grid; gap: .1rem; font-size: .85rem; }
.sc-me b { font-size: 1.05rem; overflow-wrap: anywhere; }
.sc-me span { color: var(--sc-quiet); }
.sc-dot { display: inline-block; width: .6rem; height: .6rem; border-radius: 50%; margin-right: .45rem; }
.sc-dot.online { background: #1fa971; }
.sc-dot.connecting { background: var(--sc-wait); animation: sc-pulse 1.2s ease-in-out infinite; }
.sc-dot.offline, .sc-dot.refused, .sc-dot.closed { background: var(--sc-bad); }
@keyframes sc-pulse { 50% { opacity: .25; } }
@media (prefers-reduced-motion: reduce) { .sc-dot.connecting { animation: none; } }

.st-key-head { border-bottom: 1px solid var(--sc-line); padding-bottom: .5rem; }
.sc-head { font-size: .85rem; color: var(--sc-quiet); line-height: 1.4; }
.sc-head h2 { font-size: 1.2rem; padding: 0; line-height: 1.3; color: color-mix(in srgb, currentColor 100%, CanvasText 100%);
  overflow-wrap: anywhere; }
.sc-warn { color: var(--sc-bad); font-weight: 600; }

.st-key-log { padding-bottom: .5rem; }
.sc-day { display: flex; align-items: center; gap: .8rem; margin: 1rem 0 .6rem; color: var(--sc-quiet); font-size: .78rem; }
.sc-day::before, .sc-day::after { content: ""; flex: 1; border-top: 1px solid var(--sc-line); }
.sc-system, .sc-refused { text-align: center; color: var(--sc-quiet); font-size: .8rem; margin: .35rem 0;
  overflow-wrap: anywhere; }
.sc-refused { font-style: italic; }
.sc-message { display: flex; flex-direction: column; align-items: flex-start; margin-top: .7rem; }
.sc-message.sc-follows { margin-top: .2rem; }
.sc-message.sc-mine { align-items: flex-end; }
.sc-who { font-size: .82rem; font-weight: 600; margin: 0 0 .15rem .2rem; overflow-wrap: anywhere; }
.sc-bubble { max-width: min(85%, 38rem); min-width: 2.5rem; padding: .45rem .75rem; border-radius: .9rem;
  background: color-mix(in srgb, currentColor 8%, transparent); }
.sc-theirs .sc-bubble { border-bottom-left-radius: .25rem; }
.sc-mine .sc-bubble { border-bottom-right-radius: .25rem; background: color-mix(in srgb, var(--sc-accent) 24%, transparent); }
.sc-text { white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.45; tab-size: 4; unicode-bidi: plaintext; }
.sc-fold summary { cursor: pointer; color: var(--sc-quiet); font-size: .82rem; padding: .3rem 0; }
.sc-meta { color: var(--sc-quiet); font-size: .72rem; margin: .1rem .3rem 0; }
.sc-tick.sc-bad { color: var(--sc-bad); font-weight: 600; }
.sc-tick.sc-done { color: var(--sc-good); }
.sc-empty { text-align: center; color: var(--sc-quiet); padding: 8vh 0 .5rem; }
.sc-empty b { display: block; font-size: 1.05rem; color: color-mix(in srgb, currentColor 100%, CanvasText 60%); }

.st-key-people button { justify-content: flex-start; }
.st-key-people button p { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
</style>"""
