"""A bot: it sends back to everybody what they wrote to it. ``.venv/bin/python -m scripts.echo_bot``, with a broker running."""

from clients.chat import ChatClient
from clients.discovery import choose_broker
from core.content import Text
from core.events import MessageReceived

with ChatClient("echo", choose_broker(None, {})) as client:
    for event in client.events():
        if isinstance(event, MessageReceived) and isinstance(event.message.content, Text):
            client.send(event.message.content.text, event.message.sender)
