"""The Streamlit page: ``streamlit run clients/streamlit_app.py``."""

from __future__ import annotations

import streamlit as st

from clients import page_chat, page_connect
from clients.page_state import current_chat
from clients.page_style import LOGO, STYLE


def main() -> None:
    """Draw the page for this browser session."""
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


if __name__ == "__main__":
    main()
