"""Below ASGI: uvicorn with limits on connections, request heads and clients that stop reading."""
