"""Alternatives for the same job, configured as their own documentation advises, on the same servers as our consumer."""
