"""The housekeeping loop and its tasks: partitions, rollups, retention, reindexing, fleet evaluation, metrics."""
