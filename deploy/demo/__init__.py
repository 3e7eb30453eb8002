"""The demo: everything on this machine, as in production but smaller; and the same without a person, as a smoke test.

Flow: local stack -> topics, schema, assignments -> two consumers, the read service, the fleet -> a day of history -> live.
"""
