"""Pictures of the real page in each of its states, made with real brokers, people and browsers, and kept as text."""
