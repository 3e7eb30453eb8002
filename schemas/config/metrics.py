"""What the metrics of every process begin with: itself, its interpreter, and which build it is."""

from prometheus_client import CollectorRegistry, Gauge, disable_created_metrics
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from schemas.config.version import VERSION


def new_registry() -> CollectorRegistry:
    """A registry with what is known of any process: memory, processor time, garbage, `energy_build_info`."""
    disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each one, which nobody asks for
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    build = Gauge("energy_build_info", "Always 1; which version runs here", ("version",), registry=registry)
    build.labels(VERSION).set(1)
    return registry
