"""What a consumer process reports about itself: metrics, health probes, the watchdog."""
