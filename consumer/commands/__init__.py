"""Operator commands: `python -m consumer offsets | dead-letters | breaker`.

Input: an operator's arguments, stored offsets and dead letters. Output: tables or JSON, and decisions stored in the database,
which running consumers pick up. DATABASE_URL has to be that of the schema's owner.
"""
