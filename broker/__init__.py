"""The broker: routes multipart frames by username, and can read none of what it carries."""
