"""API keys: their format, the key file, the keys in force, and what a request may access."""
