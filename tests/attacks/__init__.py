"""Each test here tells one lie, as the broker, another user or a thief could, and is named after it."""
