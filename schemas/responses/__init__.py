"""The response bodies of the HTTP API, as pydantic models."""
