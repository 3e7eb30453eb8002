"""What the Kafka topics carry: readings, vehicle-meter assignments, alerts."""
