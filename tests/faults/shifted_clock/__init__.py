"""A folder for PYTHONPATH that shifts the wall clock of the process (tests/faults/clock.py)."""
