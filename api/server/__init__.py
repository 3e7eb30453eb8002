"""Everything below ASGI: uvicorn with limits on connections and request heads, and the shutdown of the process.

In: bytes of clients. Out: requests for the application, or a problem before the connection is closed.
"""
