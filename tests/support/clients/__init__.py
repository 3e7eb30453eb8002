"""Kafka clients other than ours, as producers: Java's, and librdkafka with Confluent's serializers."""
