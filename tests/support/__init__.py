"""What several tests share: servers' databases and topics, running services, commands, a browser, Prometheus, builders of data."""
