"""How long after `recorded_at` live readings are ingested: measured ones, from which others are drawn."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import log2
from typing import Final

DRAWS: Final = 100_000
QUANTILES: Final = 1024  # a power of two


@dataclass(frozen=True, slots=True)
class LiveDelays:
    """Delays of at least two readings, in whole milliseconds and ascending order."""

    milliseconds: tuple[int, ...]

    @classmethod
    def of(cls, measured: Sequence[int]) -> "LiveDelays":
        return cls(tuple(sorted(measured)))

    def at(self, share: float) -> float:
        """Milliseconds that this share (0 to 1) of the delays do not exceed, interpolated."""
        position = share * (len(self.milliseconds) - 1)
        before = min(int(position), len(self.milliseconds) - 2)
        lower, upper = self.milliseconds[before : before + 2]
        return lower + (position - before) * (upper - lower)

    def details(self) -> dict[str, float]:
        """p50 and p99 in milliseconds, and the entropy of a delay in whole milliseconds: bits that it takes at least."""
        counts = Counter(int(self.at((number + 0.5) / DRAWS)) for number in range(DRAWS)).values()
        bits = sum(count / DRAWS * log2(DRAWS / count) for count in counts)
        return {"delay_p50_ms": self.at(0.5), "delay_p99_ms": self.at(0.99), "delay_bits": round(bits, 2)}

    def sql_function(self) -> str:
        """Replaces `whole_milliseconds`. It draws a delay that depends on the instant alone, so that merging finds the same."""
        quantiles = (str(int(self.at((number + 0.5) / QUANTILES))) for number in range(QUANTILES))
        return (
            "CREATE OR REPLACE FUNCTION whole_milliseconds(earlier timestamptz, later timestamptz) RETURNS double precision "
            "LANGUAGE sql IMMUTABLE PARALLEL SAFE "
            f"RETURN ('{{{','.join(quantiles)}}}'::double precision[])"
            f"[1 + (hash_record_extended(ROW(earlier), 0) & {QUANTILES - 1})::integer]"
        )
