"""What energy sums mean: efficiency, fault hysteresis, trends. Pure functions without a database driver."""
