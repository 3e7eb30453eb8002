"""Pseudo-random numbers that are the same in every process and every release."""

from typing import Final

_MASK: Final = 2**64 - 1


def draw(*keys: int) -> float:
    """A number in [0, 1) that depends only on `keys`: SplitMix64 (Steele et al. 2014) over each in turn."""
    mixed = 0
    for key in keys:
        mixed = ((mixed ^ (key & _MASK)) + 0x9E3779B97F4A7C15) & _MASK
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        mixed ^= mixed >> 31
    return (mixed >> 11) / 2**53
