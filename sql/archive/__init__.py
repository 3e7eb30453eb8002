"""Monthly partitions as verified Parquet files: export, verify, restore."""
