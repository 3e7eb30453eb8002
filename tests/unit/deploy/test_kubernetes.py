"""The objects that `kubectl kustomize` builds from deploy/k8s, compared with the code and the schemas of Kubernetes."""

import copy
import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from consumer.service import LEAVE_TIMEOUT_SECONDS
from consumer.settings import ConsumerSettings
from consumer.topic_registry import record_types_by_topic
from deploy.demo.run import PARTITIONS
from tests.support.repository import ROOT
from tests.support.repository.manifests import Process, all_settings, manifest_errors, unknown_metrics

MANIFESTS = ROOT / "deploy" / "k8s"
LAYERS = ("base", "overlays/development", "overlays/production")
# The oldest and the newest supported version. Objects must be valid for both.
KUBERNETES = ("1.32", "1.37")
PORTS = {"consumer": 9464, "api": 3000, "maintain": 9465}
WORKLOADS = {"Deployment", "StatefulSet", "Job"}
BUILDERS = (["kubectl", "kustomize"], ["kustomize", "build"])


@cache
def built(layer: str) -> tuple[dict[str, Any], ...]:
    """The objects of a layer."""
    command = next((each for each in BUILDERS if shutil.which(each[0])), None)
    if command is None:
        pytest.skip("kustomize is missing: install kubectl (Debian's package kubernetes-client), or kustomize")
    done = subprocess.run([*command, str(MANIFESTS / layer)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def workloads(layer: str) -> list[dict[str, Any]]:
    return [each for each in built(layer) if each["kind"] in WORKLOADS]


def of_kind(layer: str, kind: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in built(layer) if each["kind"] == kind}


def pod(workload: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = workload["spec"]["template"]["spec"]
    return found


def container(workload: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod(workload)["containers"]
    return dict(only)


def component(workload: dict[str, Any]) -> str:
    return str(workload["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"])


def environment(workload: dict[str, Any]) -> dict[str, Any]:
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container(workload)["env"]}


@pytest.mark.parametrize("layer", LAYERS)
def test_every_role_is_present(layer: str) -> None:
    assert sorted(map(component, workloads(layer))) == ["api", "consumer", "maintain", "migrate"]


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("layer", LAYERS)
def test_every_object_is_valid(layer: str, version: str) -> None:
    kubernetes_validate = pytest.importorskip(
        "kubernetes_validate", reason="the schemas of Kubernetes are a development package"
    )
    for each in built(layer):
        if each["kind"] != "ScaledObject":  # KEDA has its own schema: below
            kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("layer", LAYERS)
def test_processes_have_commands_and_settings_of_the_code(layer: str) -> None:
    for workload in workloads(layer):
        names = frozenset(environment(workload))
        assert manifest_errors(Process(workload["metadata"]["name"], container(workload)["command"], names)) == []


@pytest.mark.parametrize("layer", LAYERS)
def test_common_settings_exist_and_are_not_secret(layer: str) -> None:
    common = of_kind(layer, "ConfigMap")["energy-settings"]["data"]
    assert set(common) <= all_settings()
    assert "KAFKA_BOOTSTRAP_SERVERS" in common
    assert not [name for name in common if re.search("PASSWORD|DATABASE", name)]
    assert "Secret" not in {each["kind"] for each in built(layer)}


@pytest.mark.parametrize("layer", LAYERS)
def test_secrets_are_mounted_at_the_paths_of_the_settings(layer: str) -> None:
    for workload in workloads(layer):
        mounted = {each["name"]: each["mountPath"] for each in container(workload)["volumeMounts"]}
        volumes = {each["name"]: each for each in pod(workload)["volumes"]}
        assert set(mounted) == set(volumes)
        files = {
            f"{mounted[name]}/{item['path']}"
            for name, volume in volumes.items()
            for item in volume.get("secret", {}).get("items", [])
        }
        anything = {
            mounted[name] for name, volume in volumes.items() if "items" not in volume.get("secret", {"items": 0})
        }
        for name, value in environment(workload).items():
            if name.endswith(("_FILE", "_CAFILE")):
                assert value in files or str(Path(value).parent) in anything, f"{component(workload)}: {name}"


@pytest.mark.parametrize("layer", LAYERS)
def test_pods_have_minimal_privileges(layer: str) -> None:
    for workload in workloads(layer):
        of_pod, of_container = pod(workload)["securityContext"], container(workload)["securityContext"]
        assert of_pod["runAsNonRoot"] is True
        assert of_pod["runAsUser"] == 10001  # the Dockerfile's
        assert of_pod["seccompProfile"] == {"type": "RuntimeDefault"}
        assert of_container == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert pod(workload)["automountServiceAccountToken"] is False
        assert {"requests", "limits"} <= set(container(workload)["resources"])


@pytest.mark.parametrize("layer", LAYERS)
def test_ports_and_probes_match_the_processes(layer: str) -> None:
    for workload in workloads(layer):
        if workload["kind"] == "Job":
            continue
        role, port = component(workload), PORTS[component(workload)]
        assert [each["containerPort"] for each in container(workload)["ports"]] == [port]
        annotations = workload["spec"]["template"]["metadata"]["annotations"]
        assert annotations["prometheus.io/port"] == str(port)
        setting = {"consumer": "METRICS_PORT", "api": "API_PORT", "maintain": "MAINTAIN_METRICS_PORT"}[role]
        assert environment(workload)[setting] == str(port)
        names = {each["name"] for each in container(workload)["ports"]}
        for probe in ("livenessProbe", "readinessProbe"):
            if probe in container(workload):
                asked = container(workload)[probe]["httpGet"]
                assert asked["port"] in names
                assert asked["path"] in {"/healthz", "/readyz", "/metrics"}
        assert role == "maintain" or container(workload)["readinessProbe"]["httpGet"]["path"] == "/readyz"


@pytest.mark.parametrize("layer", LAYERS)
def test_the_grace_period_of_a_pod_exceeds_the_shutdown_time_of_its_process(layer: str) -> None:
    takes = ConsumerSettings.model_fields["shutdown_timeout_seconds"].default + LEAVE_TIMEOUT_SECONDS
    assert pod(of_kind(layer, "StatefulSet")["energy-consumer"])["terminationGracePeriodSeconds"] > takes


@pytest.mark.parametrize("layer", LAYERS)
def test_consumers_have_stable_names(layer: str) -> None:
    consumer = of_kind(layer, "StatefulSet")["energy-consumer"]
    assert environment(consumer)["KAFKA_GROUP_INSTANCE_ID"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert consumer["spec"]["updateStrategy"] == {"type": "RollingUpdate"}
    assert consumer["spec"]["serviceName"] in of_kind(layer, "Service")


@pytest.mark.parametrize("layer", LAYERS)
def test_selectors_match_exactly_the_pods_of_their_role(layer: str) -> None:
    labels = {component(each): each["spec"]["template"]["metadata"]["labels"] for each in workloads(layer)}
    for kind in ("Service", "PodDisruptionBudget"):
        for name, each in of_kind(layer, kind).items():
            wanted = each["spec"]["selector"].get("matchLabels", each["spec"]["selector"])
            chosen = [role for role, has in labels.items() if wanted.items() <= has.items()]
            assert chosen == [name.removeprefix("energy-")]


@pytest.mark.parametrize("layer", LAYERS)
def test_the_network_allows_only_listed_traffic(layer: str) -> None:
    policies = of_kind(layer, "NetworkPolicy")
    closed = policies["default-deny"]["spec"]
    assert set(closed["policyTypes"]) == {"Ingress", "Egress"}
    assert not {"ingress", "egress"} & set(closed)
    into = {
        port["port"] for one in policies.values() for rule in one["spec"].get("ingress", []) for port in rule["ports"]
    }
    assert into == set(PORTS.values())
    for one in policies.values():
        assert all(rule["from"] for rule in one["spec"].get("ingress", []))
    servers = of_kind(layer, "ConfigMap")["energy-settings"]["data"]["KAFKA_BOOTSTRAP_SERVERS"]
    open_to = {port["port"] for rule in policies["to-kafka"]["spec"]["egress"] for port in rule["ports"]}
    assert int(servers.rpartition(":")[2]) in open_to


def closed(schema: Any) -> Any:
    """The schema without additional properties, as in strict validation on a server."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: closed(value) for key, value in schema.items()}
    return {"additionalProperties": False} | kept if kept.get("type") == "object" and "properties" in kept else kept


def scaler_errors(scaler: dict[str, Any]) -> list[str]:
    """Errors by the schema of KEDA 2.16, which lacks `fallback.behavior`: tests/schemas/README.md."""
    schema = closed(json.loads((ROOT / "tests" / "schemas" / "keda-scaledobject.json").read_text()))
    known = copy.deepcopy(scaler)
    behavior = known["spec"]["fallback"].pop("behavior")
    assert behavior in {"static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower"}
    return [
        f"{error.json_path}: {error.message}" for error in jsonschema.Draft202012Validator(schema).iter_errors(known)
    ]


def test_the_scaler_is_valid() -> None:
    assert scaler_errors(of_kind("overlays/production", "ScaledObject")["energy-consumer"]) == []


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"maxReplicas": 3}, "maxReplicas"),
        ({"pollingInterval": "15s"}, "15s"),
        ({"triggers": [{"type": "prometheus"}]}, "metadata"),
    ],
)
def test_the_schema_of_keda_detects_errors(change: dict[str, Any], wrong: str) -> None:
    scaler = of_kind("overlays/production", "ScaledObject")["energy-consumer"]
    assert any(wrong in error for error in scaler_errors(scaler | {"spec": scaler["spec"] | change}))


def partitions_of_readings() -> int:
    """The number of partitions of both topics in docker-compose.yml. The demo creates as many."""
    command = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["topics"]["command"]
    assert command == ["python", "-m", "consumer", "topics", "create", "--partitions", str(PARTITIONS)]
    topics = [topic for topic in record_types_by_topic(ConsumerSettings()) if topic.endswith("-readings")]
    return PARTITIONS * len(topics)


def test_the_scaler_uses_an_existing_metric_and_is_limited_by_the_partitions() -> None:
    scaled = of_kind("overlays/production", "ScaledObject")["energy-consumer"]["spec"]
    consumer = of_kind("overlays/production", "StatefulSet")["energy-consumer"]
    assert scaled["scaleTargetRef"] == {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "name": consumer["metadata"]["name"],
    }
    assert "replicas" not in consumer["spec"]  # set by the scaler
    (trigger,) = scaled["triggers"]
    assert unknown_metrics(trigger["metadata"]["query"]) == set()
    assert all(isinstance(value, str) for value in trigger["metadata"].values())  # KEDA accepts only strings
    assert scaled["minReplicaCount"] <= scaled["fallback"]["replicas"] <= scaled["maxReplicaCount"]
    assert scaled["maxReplicaCount"] == partitions_of_readings()


@pytest.mark.parametrize("layer", LAYERS)
def test_all_processes_run_the_image_of_this_version(layer: str) -> None:
    images = {container(each)["image"] for each in workloads(layer)}
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert images == {compose["services"]["consumer"]["image"]}
    version = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    assert images == {f"energy-ingestion-engine:{version[1]}"}


def test_the_files_note_that_they_were_not_run() -> None:
    for file in MANIFESTS.rglob("kustomization.yaml"):
        assert "Not run" in "\n".join(file.read_text().splitlines()[:4]), file
