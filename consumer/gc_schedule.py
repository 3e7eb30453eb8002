"""Garbage collection by the clock. Python's own goes by how much is allocated, and a large batch is nothing but allocations.

Records, rows and batches hold no reference cycles: counting references frees them. Only what is around them makes some (tasks,
tracebacks). Looking for cycles every few hundred allocations took about a third of a replica's CPU while it drained a backlog.
"""

import asyncio
import gc
from typing import Final

COLLECT_SECONDS: Final = 10.0  # of which one collection with two full batches in memory takes well below a hundredth


async def collect_regularly() -> None:
    """Turn automatic collection off, and collect by the clock until cancelled; then it is automatic again."""
    gc.collect()
    gc.freeze()  # what is there at the start stays: modules, classes, functions
    gc.disable()
    try:
        while True:
            await asyncio.sleep(COLLECT_SECONDS)
            gc.collect()
    finally:
        gc.enable()
        gc.unfreeze()
