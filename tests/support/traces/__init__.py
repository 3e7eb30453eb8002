"""A collector of traces for tests and benchmarks."""
