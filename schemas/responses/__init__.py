"""The bodies that the HTTP API returns."""
