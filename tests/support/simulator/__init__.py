"""What tests need of the simulated fleet beyond what the demo runs: a replay of the real sessions, and disturbed lists of records."""
