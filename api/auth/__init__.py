"""API keys and what they permit. In: the key file and the headers of a request. Out: an Access, or an AuthFailure."""
