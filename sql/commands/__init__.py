"""Subcommands of `python -m sql` that are too long for `__main__`: archive, doctor."""
