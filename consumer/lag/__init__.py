"""How far behind the partitions are, measured beside the pipeline."""
