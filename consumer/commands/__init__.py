"""What operators do by hand: `python -m consumer offsets | dead-letters | breaker`. As the owner of the schema (DATABASE_URL)."""
