"""The cells of a fleet: systems of their own, each with its database, which one read service answers for.

A request about a device is answered by the device's cell. A request about the fleet is answered by all cells at once, and names
those that are unavailable. Without DATABASE_CELLS there is one cell, the database of DATABASE_URL.
"""
