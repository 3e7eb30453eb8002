"""Commands for operators of the API: `python -m api keys ...`. They work on the key file alone; no service has to run."""
