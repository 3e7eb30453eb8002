"""What a measure needs before it starts: servers, databases, a backlog in Kafka, stored readings, a simulated fleet."""
