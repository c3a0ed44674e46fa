"""Keys, envelopes, frames and the client's session: everything both sides agree on, without any input or output."""
