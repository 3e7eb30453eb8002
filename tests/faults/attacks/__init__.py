"""The attacks, by what they hit."""
