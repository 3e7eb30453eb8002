"""The contracts as machines see them: `python -m tests.contracts` writes the documents, tests hold the engine against them."""
