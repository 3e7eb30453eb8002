"""The database that a request reads from: the primary or a replica, with failover in the middle of a request.

In: queries of routes, through `ReadRouter.acquire()`. Out: rows, and where they came from (`READ_ORIGIN`) for response headers.
"""
