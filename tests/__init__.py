"""Unit tests of the pure parts, integration on real servers, acceptance through the outside only."""
