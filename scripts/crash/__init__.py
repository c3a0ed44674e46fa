"""A crash test: broker, senders and receivers are killed at random moments, and afterwards nothing may be missing."""
