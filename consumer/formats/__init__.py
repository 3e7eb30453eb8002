"""Values that were written with a schema of a registry: Avro, Protobuf, and JSON with a JSON Schema.

A value names its schema -> the registry's client fetches it, once -> a reader of that schema -> rows, as from JSON.
"""
