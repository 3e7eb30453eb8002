"""Thirty days of the fleet in the levels of history: their size, the speed of their answers, and what they cost the present."""
