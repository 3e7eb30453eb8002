"""Telemetry, as data: the tables of one kind of reading, and the queries that fill them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from consumer.records.record_type import Kind, Row


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Telemetry(Kind):
    """One kind of reading on its way from a topic into its tables."""

    history: str
    columns: tuple[str, ...]
    arguments: tuple[str, ...]
    newest: Callable[..., Any]
    insert_new: Callable[..., Any]
    match: Callable[..., Any]

    def columnar(self, rows: list[Row]) -> dict[str, list[Any]]:
        """Rows as one list per column, named as the arguments of this kind's queries."""
        if not rows:
            return {name: [] for name in self.arguments}
        return dict(zip(self.arguments, map(list, zip(*rows, strict=True)), strict=True))
