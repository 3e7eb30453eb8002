"""The flow of records through one process: fetch -> decode -> buffer -> write; rebalances, and what operators decide."""
