"""Where a request reads: connection pools, primary or replica, replication lag."""
