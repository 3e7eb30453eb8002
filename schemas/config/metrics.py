"""The metrics registry that every process starts from: process, interpreter and build information."""

from prometheus_client import CollectorRegistry, Gauge, disable_created_metrics
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from schemas.config.version import VERSION


def new_registry() -> CollectorRegistry:
    """A registry with memory, CPU time, garbage collection and `energy_build_info`."""
    disable_created_metrics()  # type: ignore[no-untyped-call]  # a second time series per counter
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    build = Gauge(
        "energy_build_info", "Always 1; the label is the version of this process", ("version",), registry=registry
    )
    build.labels(VERSION).set(1)
    return registry
