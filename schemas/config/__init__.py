"""Settings, secrets, logging, the metrics registry and the version, shared by every process."""
