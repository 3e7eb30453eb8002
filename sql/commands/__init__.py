"""Commands of `python -m sql` that have commands of their own, or a lot to say."""
