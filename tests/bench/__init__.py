"""Benchmarks: figures, not verdicts. `make bench`; how to read them: docs/benchmarks.md."""
