"""Fuzzing of the decoders and of the HTTP service: `make fuzz MINUTES=10`; `make test` runs a short form with a fixed seed."""
