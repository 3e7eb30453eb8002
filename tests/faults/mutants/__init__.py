"""Mutants: mistakes that the oracle must find. Each is one replacement of text in a copy of the engine's sources."""
