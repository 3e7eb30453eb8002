"""The archive: retention, files, and answers from them."""
