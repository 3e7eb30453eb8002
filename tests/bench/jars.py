"""jgo.lock.toml beside this file -> jars on this machine, in the cache of the local stack and checked as its own are."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from deploy.stack.jars import locked_jars

LOCK: Final = Path(__file__).with_name("jgo.lock.toml")


def bench_jars(say: Callable[[str], None]) -> list[Path]:
    """The class path of what the broker does not need; as `locked_jars`."""
    return locked_jars(LOCK, "Kafka Connect", say)
