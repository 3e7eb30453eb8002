"""CPU time: of servers that we run, and of processes under test."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

import psutil

from deploy.stack.servers import Servers


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU seconds by name: `client` is what is measured, the servers are there when they are ours."""

    seconds: dict[str, float]

    @classmethod
    def now(cls, stack: Servers, clients: Iterable[psutil.Process]) -> "Costs":
        """What has been spent so far, by sessions and children that have ended as well."""
        running = {"postgres": stack.postgres, "kafka": stack.kafka}
        servers = {name: _of_family(server.process) for name, server in running.items() if server and server.process}
        return cls({"client": sum(map(_of_family, clients)), **servers})

    def per_record(self, before: "Costs", records: float) -> dict[str, float]:
        """Microseconds a record since `before`, named as details of a result."""
        return {
            f"{name}_cpu_us_per_record": round((spent - before.seconds[name]) * 1e6 / max(records, 1), 3)
            for name, spent in self.seconds.items()
        }

    def cores(self, before: "Costs", seconds: float) -> dict[str, float]:
        """Cores kept busy since `before`, named as details of a result."""
        return {
            f"{name}_cpu_cores": round((spent - before.seconds[name]) / seconds, 4)
            for name, spent in self.seconds.items()
        }


def _of_family(process: psutil.Process) -> float:
    return sum(map(_spent, (process, *process.children(recursive=True))))


def _spent(process: psutil.Process) -> float:
    with suppress(psutil.NoSuchProcess):  # a session that ended this moment: its parent has its time from now on
        times = process.cpu_times()
        return float(times.user + times.system + times.children_user + times.children_system)
    return 0.0
