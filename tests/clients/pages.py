"""Driving the page without a browser, by Streamlit's own test runner."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Element, TextInput

from clients.chronicle import ConnectionState
from clients.page_state import Chat
from core.encoding import b64url
from tests.broker_process import ROOT
from tests.net import until

NOWHERE = f"securechat://127.0.0.1:9/{b64url(bytes(range(32)))}"  # the discard port: nothing answers there


def new_page() -> AppTest:
    return AppTest.from_file(str(ROOT / "clients" / "streamlit_app.py"), default_timeout=60)


def page() -> AppTest:
    return new_page().run()


def text(app: AppTest) -> str:
    """All the HTML on the page that is not a style sheet."""
    assert not app.exception
    bodies = [block.value for block in app.get("html") if isinstance(block, Element)]
    return "\n".join(body for body in bodies if "<style>" not in body)


def connect(app: AppTest, name: str, broker: str | None = None) -> AppTest:
    app.text_input(key="name").input(name)
    if broker is not None:
        app.text_input(key="broker").input(broker)
    return next(button for button in app.button if button.label == "Connect").click().run()


def chat_of(app: AppTest) -> Chat:
    chat = app.session_state["chat"]
    assert isinstance(chat, Chat)
    return chat


def wait_for(app: AppTest, state: ConnectionState) -> AppTest:
    """Wait for a state of the connection, and draw it."""
    until(lambda: chat_of(app).client.status.state is state, f"never {state.value}")
    return app.run()


def search_field(app: AppTest) -> TextInput:
    return next(field for field in app.text_input if field.label.startswith("Search"))


def send(app: AppTest, what: str) -> AppTest:
    return app.chat_input[0].set_value(what).run()
