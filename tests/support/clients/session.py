"""What a producer does, in words that every client understands."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

Headers = list[tuple[str, str | bytes | None]]  # as Confluent's client has them


class Transaction(Enum):
    """How a transaction ends."""

    COMMIT = "commit"
    ABORT = "abort"


@dataclass(frozen=True, slots=True)
class Message:
    """A record to send."""

    topic: str
    partition: int
    value: bytes
    headers: Headers = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Session:
    """One producer from its start to its end: its settings, and what it sends, in one transaction or in none."""

    settings: dict[str, str]
    messages: Sequence[Message]
    transaction: Transaction | None = None
