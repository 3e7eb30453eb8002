"""Monthly partitions as verified Parquet files.

In: a table of one month. Out: a directory with a Parquet file per history and a manifest, and from these the table again.
"""
