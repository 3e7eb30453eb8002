"""How far behind the partitions are, measured alongside the pipeline."""
