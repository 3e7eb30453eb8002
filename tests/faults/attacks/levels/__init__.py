"""Attacks on folding, merging and archiving: maintenance is interrupted at each step of them, while readings arrive."""
