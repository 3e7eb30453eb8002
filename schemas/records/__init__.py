"""What the Kafka topics carry: readings, vehicle-meter assignments, alerts.

In: the bytes of a record. Out: a frozen struct, or an InvalidReading with the reason for each wrong field.
"""
