"""The targets that deploy/prometheus/kubernetes.yml makes of the pods of deploy/k8s, compared with the jobs in the rules.

Prometheus itself applies the relabelling. A file with the labels of the pods replaces discovery in a cluster.
"""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.prometheus import DIRECTORY, NO_PROMETHEUS, PROMTOOL
from tests.support.repository.dashboard import queries
from tests.unit.deploy.test_kubernetes import LAYERS, PORTS, component, container, workloads

CONFIGURATION: dict[str, Any] = yaml.safe_load((DIRECTORY / "kubernetes.yml").read_text())
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason=NO_PROMETHEUS)


def discovered(workload: dict[str, Any], number: int, phase: str = "Running") -> dict[str, Any]:
    """A pod of a workload as discovered with the role `pod`: an address per port, and the metadata as labels."""
    metadata = workload["spec"]["template"]["metadata"]
    labels = {
        "__meta_kubernetes_pod_name": f"{workload['metadata']['name']}-0",
        "__meta_kubernetes_pod_phase": phase,
    }
    for kind in ("label", "annotation"):
        for name, value in metadata.get(f"{kind}s", {}).items():
            labels[f"__meta_kubernetes_pod_{kind}_{re.sub(r'[^a-zA-Z0-9_]', '_', name)}"] = value
    ports = [f":{each['containerPort']}" for each in container(workload).get("ports", [])]
    return {"targets": [f"10.0.0.{number}{port}" for port in ports or [""]], "labels": labels}


def relabelled(directory: Path, pods: list[dict[str, Any]]) -> list[dict[str, str]]:
    """The labels, after relabelling, of the pods that are kept as targets."""
    (directory / "pods.json").write_text(json.dumps(pods))
    (job,) = CONFIGURATION["scrape_configs"]
    kept = {name: value for name, value in job.items() if name != "kubernetes_sd_configs"}
    changed = CONFIGURATION | {
        "rule_files": [f"{DIRECTORY}/rules/*.yml"],
        "scrape_configs": [kept | {"file_sd_configs": [{"files": ["pods.json"]}]}],
    }
    file = directory / "prometheus.yml"
    file.write_text(yaml.safe_dump(changed))
    promtool("check", "config", str(file))
    targets = json.loads(promtool("check", "service-discovery", "--timeout=3s", str(file), job["job_name"]))
    return [each["labels"] for each in targets if each.get("labels")]


def promtool(*arguments: str) -> str:
    done = subprocess.run([str(PROMTOOL), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_discovery_uses_the_namespace_of_the_manifests() -> None:
    (job,) = CONFIGURATION["scrape_configs"]
    namespace = yaml.safe_load((DIRECTORY.parent / "k8s" / "base" / "kustomization.yaml").read_text())["namespace"]
    assert job["kubernetes_sd_configs"] == [{"role": "pod", "namespaces": {"names": [namespace]}}]
    same = yaml.safe_load((DIRECTORY / "prometheus.yml").read_text())
    assert {name: same[name] for name in ("global", "rule_files")} == {
        name: CONFIGURATION[name] for name in ("global", "rule_files")
    }


@needs_promtool
@pytest.mark.parametrize("layer", LAYERS)
def test_every_pod_with_metrics_becomes_a_target_of_the_job_in_the_rules(layer: str, tmp_path: Path) -> None:
    pods = workloads(layer)
    targets = relabelled(tmp_path, [discovered(each, number) for number, each in enumerate(pods, 1)])
    assert sorted((each["job"], each["__address__"], each["__metrics_path__"], each["instance"]) for each in targets) == [
        (f"energy-{component(each)}", f"10.0.0.{number}:{PORTS[component(each)]}", "/metrics", f"energy-{component(each)}-0")
        for number, each in sorted(enumerate(pods, 1), key=lambda pair: component(pair[1]))
        if component(each) in PORTS
    ]  # fmt: skip
    rules = "".join(file.read_text() for file in (DIRECTORY / "rules").glob("*.yml"))
    asked = set(re.findall(r'job="([^"]+)"', rules + " ".join(query for _, query in queries())))
    configured = {
        each["job_name"] for each in yaml.safe_load((DIRECTORY / "prometheus.yml").read_text())["scrape_configs"]
    }
    assert asked <= {each["job"] for each in targets} == configured


@needs_promtool
@pytest.mark.parametrize("address", ["10.0.0.9", "10.0.0.9:1", "[fd00::9]:1", "[fd00::9]"])
def test_the_port_comes_from_the_annotation(address: str, tmp_path: Path) -> None:
    (api,) = [each for each in workloads(LAYERS[0]) if component(each) == "api"]
    (target,) = relabelled(tmp_path, [discovered(api, 9) | {"targets": [address]}])
    assert target["__address__"] == f"{address.removesuffix(':1')}:{PORTS['api']}"


@needs_promtool
def test_a_completed_pod_is_not_a_target(tmp_path: Path) -> None:
    pods = workloads(LAYERS[0])
    ended = [discovered(each, number, "Failed") for number, each in enumerate(pods, 1)]
    assert relabelled(tmp_path, ended) == []
