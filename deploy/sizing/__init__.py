"""The sizing model: resources that a fleet needs, extrapolated from measurements. docs/scaling.md explains the results."""
