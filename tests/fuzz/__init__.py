"""Nonsense at length: `make fuzz MINUTES=10`; `make test` runs a short form with a fixed seed."""
