"""The state of the whole fleet: summary, reading rate, live updates."""
