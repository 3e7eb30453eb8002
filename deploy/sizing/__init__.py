"""How much of everything a fleet takes: what was measured on a small machine, multiplied. docs/scaling.md reads the results."""
