"""What is counted of a whole fleet: buckets of efficiency, and devices that report."""

from datetime import timedelta
from typing import Final

HISTOGRAM_BOUNDS: Final = (0.0, *(float(bound) for bound in range(50, 101, 2)))  # percent; bucket 1 begins at the first
REPORTING_WITHIN: Final = timedelta(minutes=5)  # since the newest reading of a device, by its clock
