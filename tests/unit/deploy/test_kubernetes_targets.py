"""Pods of deploy/k8s as Prometheus would find and name them by deploy/prometheus/kubernetes.yml, and what the rules ask for.

Prometheus itself applies the relabelling: a file stands in the place of the cluster, with the labels that it would give.
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
    """A pod of a workload, as discovery of the role `pod` describes it: an address for its port, and its metadata as labels."""
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


def found(directory: Path, pods: list[dict[str, Any]]) -> list[dict[str, str]]:
    """The targets that come of these pods: their labels after relabelling, of those that are kept."""
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


def test_pods_of_the_namespace_of_the_manifests_are_looked_for() -> None:
    (job,) = CONFIGURATION["scrape_configs"]
    namespace = yaml.safe_load((DIRECTORY.parent / "k8s" / "base" / "kustomization.yaml").read_text())["namespace"]
    assert job["kubernetes_sd_configs"] == [{"role": "pod", "namespaces": {"names": [namespace]}}]
    same = yaml.safe_load((DIRECTORY / "prometheus.yml").read_text())
    assert {name: same[name] for name in ("global", "rule_files")} == {
        name: CONFIGURATION[name] for name in ("global", "rule_files")
    }


@needs_promtool
@pytest.mark.parametrize("layer", LAYERS)
def test_every_pod_that_answers_is_found_under_the_job_that_rules_ask_for(layer: str, tmp_path: Path) -> None:
    pods = workloads(layer)
    targets = found(tmp_path, [discovered(each, number) for number, each in enumerate(pods, 1)])
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
def test_the_port_is_that_of_the_annotation(address: str, tmp_path: Path) -> None:
    (api,) = [each for each in workloads(LAYERS[0]) if component(each) == "api"]
    (target,) = found(tmp_path, [discovered(api, 9) | {"targets": [address]}])
    assert target["__address__"] == f"{address.removesuffix(':1')}:{PORTS['api']}"


@needs_promtool
def test_a_pod_that_has_ended_is_not_asked(tmp_path: Path) -> None:
    pods = workloads(LAYERS[0])
    ended = [discovered(each, number, "Failed") for number, each in enumerate(pods, 1)]
    assert found(tmp_path, ended) == []
