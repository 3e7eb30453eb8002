"""What energy sums mean: efficiency, fault hysteresis, trends.

In: sums and settings. Out: values. Pure functions without a database driver, shared by the API and maintenance.
"""
