"""Unit tests of answers from the archive, and of exports."""
