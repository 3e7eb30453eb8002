"""Records as data, without I/O: Kafka records come in; batches of decoded rows and dead letters go out."""
