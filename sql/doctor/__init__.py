"""Checks of the database server and of the engine's own state, as findings with advice."""
