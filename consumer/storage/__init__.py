"""One batch, one PostgreSQL transaction: claim the offsets, write the rows and dead letters, commit."""
