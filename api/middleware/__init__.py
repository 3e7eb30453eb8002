"""ASGI middleware, one a module; `app.py` lists the order."""
