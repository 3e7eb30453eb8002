"""What tests use of the simulated fleet beyond the demo: a replay of the real sessions, and disturbed lists of records."""
