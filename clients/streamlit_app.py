"""The Streamlit page: ``streamlit run clients/streamlit_app.py``.

Streamlit looks in here for an ``App`` and serves that. For each browser session it then runs this file as a script.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import streamlit as st


def main() -> None:
    """Draw the page for this browser session."""
    # What a script imports sees Streamlit's server running, and what the server imports does not.
    from clients import page_chat, page_connect
    from clients.page_state import current_chat
    from clients.page_style import LOGO, STYLE

    st.set_page_config(
        page_title=None if "titled" in st.session_state else "SecureChat",
        page_icon=LOGO,
        layout="centered",
        initial_sidebar_state="auto",
    )
    st.session_state["titled"] = True
    st.html(STYLE)
    chat = current_chat()
    if chat is None:
        page_connect.show()
        return
    page_chat.show(chat)


@asynccontextmanager
async def _until_the_end(_: st.App) -> AsyncIterator[None]:
    """Say goodbye for everybody when the server is told to end: it dies of the signal then, and nothing else is run at exit."""
    yield
    from clients.page_state import DEPARTURES

    await asyncio.to_thread(DEPARTURES.close_all)


if __name__ == "__main__":
    main()
else:
    from starlette.middleware import Middleware

    from clients.page_guard import Guard

    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    app: Final = st.App(__file__, middleware=[Middleware(Guard)], lifespan=_until_the_end)
