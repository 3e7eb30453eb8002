"""The OpenAPI document. In: what FastAPI derives from the routes. Out: the same, with problems, access and examples."""
