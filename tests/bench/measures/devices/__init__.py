"""`make bench ONLY=devices`: drains and freshness of up to a million devices; maintenance and queries at that size."""
