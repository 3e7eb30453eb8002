"""A model of Kafka: logs with transactions and holes, a consumer group of the eager protocol, and aiokafka's consumer.

log (partitions) -> broker (fetches, offsets, the group) -> client (the methods of AIOKafkaConsumer that our code uses)
"""
