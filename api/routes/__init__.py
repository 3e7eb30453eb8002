"""The HTTP routes, one module per part of the API, with their parameters, pagination and time buckets."""
