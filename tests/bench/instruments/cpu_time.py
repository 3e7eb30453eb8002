"""CPU time of the servers that we run and of the processes under test."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

import psutil

from deploy.stack.servers import Servers


@dataclass(frozen=True, slots=True)
class CpuTime:
    """CPU seconds by name: `client` is the processes under test; `postgres` and `kafka` are present when they are our own."""

    seconds: dict[str, float]

    @classmethod
    def now(cls, stack: Servers, clients: Iterable[psutil.Process]) -> "CpuTime":
        """CPU time spent so far, by sessions and children that have ended as well."""
        running = {"postgres": stack.postgres, "kafka": stack.kafka}
        servers = {
            name: _with_children(server.process) for name, server in running.items() if server and server.process
        }
        return cls({"client": sum(map(_with_children, clients)), **servers})

    def per_record(self, before: "CpuTime", records: float) -> dict[str, float]:
        """Microseconds a record since `before`, by the name of a result's detail."""
        return {
            f"{name}_cpu_us_per_record": round((spent - before.seconds[name]) * 1e6 / max(records, 1), 3)
            for name, spent in self.seconds.items()
        }

    def cores(self, before: "CpuTime", seconds: float) -> dict[str, float]:
        """Average number of busy cores since `before`, by the name of a result's detail."""
        return {
            f"{name}_cpu_cores": round((spent - before.seconds[name]) / seconds, 4)
            for name, spent in self.seconds.items()
        }


def _with_children(process: psutil.Process) -> float:
    return sum(map(_spent, (process, *process.children(recursive=True))))


def _spent(process: psutil.Process) -> float:
    with suppress(psutil.NoSuchProcess):  # the session has just ended; from now on its parent's counters include it
        times = process.cpu_times()
        return float(times.user + times.system + times.children_user + times.children_system)
    return 0.0
