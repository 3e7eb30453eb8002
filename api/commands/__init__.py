"""What operators of the API type: `python -m api keys ...`."""
