"""Garbage collection on a timer instead of by allocation counts: a large batch is nothing but allocations.

Records, rows and batches hold no reference cycles, so reference counting frees them; only tasks and tracebacks make cycles.
Searching for cycles every few hundred allocations took about a third of a consumer's CPU while it drained a backlog.
"""

import asyncio
import gc
from typing import Final

COLLECT_SECONDS: Final = 10.0  # one collection, with two full batches in memory, takes well below a hundredth of this


async def collect_on_schedule() -> None:
    """Collect every ten seconds until cancelled; automatic collection is off meanwhile."""
    gc.collect()
    gc.freeze()  # modules, classes and functions of the start live as long as the process
    gc.disable()
    try:
        while True:
            await asyncio.sleep(COLLECT_SECONDS)
            gc.collect()
    finally:
        gc.enable()
        gc.unfreeze()
