"""Programs that a measure runs as processes: the bare loop, and each stage of the work in isolation."""
