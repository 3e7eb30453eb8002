"""Attacks on the running system, one module for each part that they hit."""
