"""The demo: the whole system on this machine, as in production but smaller. Without a person it is the smoke test.

Local stack -> topics, schema, assignments -> two consumers, the read service, the fleet -> a day of history -> live readings.
"""
