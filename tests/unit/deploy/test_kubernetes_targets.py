"""The targets that deploy/prometheus/kubernetes.yml makes of the pods of deploy/k8s, compared with the jobs in the rules.

Prometheus itself applies the relabelling. A file with the labels of the pods replaces discovery in a cluster. promtool waits for
its whole timeout, so the pods of all tests are relabelled at once.
"""

import json
import re
import subprocess
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import yaml

from tests.support.prometheus import DIRECTORY, NO_PROMETHEUS, PROMTOOL
from tests.support.repository.chart import CHART, HELM, LAYERS, NO_HELM
from tests.support.repository.dashboard import queries
from tests.unit.deploy.test_kubernetes import PORTS, component, container, workloads

CONFIGURATION: dict[str, Any] = yaml.safe_load((DIRECTORY / "kubernetes.yml").read_text())
pytestmark = pytest.mark.skipif(HELM is None, reason=NO_HELM)
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason=NO_PROMETHEUS)


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod that discovery finds: where it is from, its workload, its address without a port."""

    origin: str
    workload: dict[str, Any]
    address: str
    phase: str = "Running"


ADDRESSES = ("10.9.0.1", "10.9.0.2:1", "[fd00::9]:1", "[fd00::8]")


@cache
def all_pods() -> tuple[Pod, ...]:
    """A pod of every workload of every layer, completed ones, and pods of the API with other addresses."""
    pods = [
        Pod(layer, workload, f"10.{number}.{phase == 'Running':d}.{index}", phase)
        for number, layer in enumerate(LAYERS)
        for phase in ("Running", "Failed")
        for index, workload in enumerate(workloads(layer), 1)
    ]
    (api,) = [each for each in workloads("defaults") if component(each) == "api"]
    return (*pods, *(Pod("address", api, address) for address in ADDRESSES))


def discovered(pod: Pod) -> dict[str, Any]:
    """A pod as discovered with the role `pod`: an address per port, and the metadata as labels."""
    metadata = pod.workload["spec"]["template"]["metadata"]
    labels = {
        "origin": pod.origin,
        "__meta_kubernetes_pod_name": f"{pod.workload['metadata']['name']}-0",
        "__meta_kubernetes_pod_phase": pod.phase,
    }
    for kind in ("label", "annotation"):
        for name, value in metadata.get(f"{kind}s", {}).items():
            labels[f"__meta_kubernetes_pod_{kind}_{re.sub(r'[^a-zA-Z0-9_]', '_', name)}"] = value
    ports = [f":{each['containerPort']}" for each in container(pod.workload).get("ports", [])]
    ports = [] if pod.origin == "address" else ports
    return {"targets": [f"{pod.address}{port}" for port in ports or [""]], "labels": labels}


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """The labels, after relabelling, of the pods that are kept as targets."""
    directory = tmp_path_factory.mktemp("targets")
    (directory / "pods.json").write_text(json.dumps([discovered(each) for each in all_pods()]))
    (job,) = CONFIGURATION["scrape_configs"]
    kept = {name: value for name, value in job.items() if name != "kubernetes_sd_configs"}
    changed = CONFIGURATION | {
        "rule_files": [f"{DIRECTORY}/rules/*.yml"],
        "scrape_configs": [kept | {"file_sd_configs": [{"files": ["pods.json"]}]}],
    }
    file = directory / "prometheus.yml"
    file.write_text(yaml.safe_dump(changed))
    promtool("check", "config", str(file))
    found = json.loads(promtool("check", "service-discovery", "--timeout=3s", str(file), job["job_name"]))
    return [each["labels"] for each in found if each.get("labels")]


def promtool(*arguments: str) -> str:
    done = subprocess.run([str(PROMTOOL), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_discovery_uses_the_namespace_of_the_commands() -> None:
    (job,) = CONFIGURATION["scrape_configs"]
    namespaces = set(re.findall(r"--namespace ([a-z-]+)", (CHART / "README.md").read_text()))
    assert job["kubernetes_sd_configs"] == [{"role": "pod", "namespaces": {"names": sorted(namespaces)}}]
    same = yaml.safe_load((DIRECTORY / "prometheus.yml").read_text())
    assert {name: same[name] for name in ("global", "rule_files")} == {
        name: CONFIGURATION[name] for name in ("global", "rule_files")
    }


@needs_promtool
def test_every_running_pod_with_metrics_becomes_a_target_of_the_job_in_the_rules(targets: list[dict[str, str]]) -> None:
    rules = "".join(file.read_text() for file in (DIRECTORY / "rules").glob("*.yml"))
    asked = set(re.findall(r'job="([^"]+)"', rules + " ".join(query for _, query in queries())))
    same = yaml.safe_load((DIRECTORY / "prometheus.yml").read_text())
    configured = {each["job_name"] for each in same["scrape_configs"]}
    for layer in LAYERS:
        running = [each for each in all_pods() if each.origin == layer and each.phase == "Running"]
        pods = {component(each.workload): each.address for each in running}
        found = [each for each in targets if each["origin"] == layer]
        assert {each["job"]: (each["__address__"], each["__metrics_path__"], each["instance"]) for each in found} == {
            f"energy-{role}": (f"{pods[role]}:{port}", "/metrics", f"energy-{role}-0") for role, port in PORTS.items()
        }
        assert len(found) == len(PORTS)
        assert asked <= {each["job"] for each in found} == configured


@needs_promtool
def test_the_port_comes_from_the_annotation(targets: list[dict[str, str]]) -> None:
    found = {each["__address__"] for each in targets if each["origin"] == "address"}
    assert found == {f"{address.removesuffix(':1')}:{PORTS['api']}" for address in ADDRESSES}
