"""What is checked on a cluster, in this order: each check continues from the state that the previous one left."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from tests.kubernetes.cluster import NODES, Cluster, CommandError
from tests.kubernetes.programs import KEDA, downloaded
from tests.support.repository.chart import CHART, LAYERS

Check = Callable[[Cluster], str]
RELEASE: Final = "energy"
NAMESPACE: Final = {
    "apiVersion": "v1",
    "kind": "Namespace",
    "metadata": {
        "name": "energy",
        "labels": {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")},
    },
}
SECRETS: Final[Mapping[str, tuple[str, ...]]] = {
    "energy-database": ("migrator-url", "writer-url", "reader-url", "read-url", "ca.crt"),
    "energy-api-keys": ("keys",),
    "energy-kafka": ("ca.crt", "username", "password", "tls.crt", "tls.key"),
}
SCALER_CRD: Final = "config/crd/bases/keda.sh_scaledobjects.yaml"


def objects_are_accepted(cluster: Cluster) -> str:
    """Applies the objects of all values but the ScaledObject with strict validation; a warning is an error."""
    cluster.run("kubectl", "apply", "--filename=-", stdin=json.dumps(NAMESPACE))
    for name, keys in SECRETS.items():
        literals = [f"--from-literal={key}=x" for key in keys]
        cluster.run("kubectl", "create", "secret", "generic", name, "--namespace=energy", *literals)
    accepted = [len(_applied(cluster, layer, without="ScaledObject")) for layer in LAYERS]
    return f"{sum(accepted)} objects of {len(LAYERS)} sets of values"


def a_missing_scaler_is_named(cluster: Cluster) -> str:
    """Without KEDA an install with autoscaling fails, and creates nothing."""
    message = _failure(lambda: _helm(cluster, "install", "production"))
    assert 'no matches for kind "ScaledObject" in version "keda.sh/v1alpha1"' in message, message
    _assert_nothing_is_left(cluster)
    return "no matches for kind ScaledObject"


def the_scaler_is_accepted(cluster: Cluster) -> str:
    """Applies the ScaledObject against the definition that KEDA itself installs."""
    crd = Path(downloaded("github.com/kedacore/keda/v2", KEDA)["Dir"]) / SCALER_CRD
    cluster.run("kubectl", "apply", "--server-side", f"--filename={crd}")
    cluster.run("kubectl", "wait", "--for=condition=Established", "crd/scaledobjects.keda.sh", "--timeout=60s")
    return f"KEDA {KEDA}: {', '.join(_applied(cluster, 'production', only='ScaledObject'))}"


def an_install_becomes_ready(cluster: Cluster) -> str:
    """Installs the development values; every pod becomes ready and the migration completes."""
    _helm(cluster, "install", "development")
    _assert_workloads(cluster, {"energy-api": 1, "energy-consumer": 1, "energy-maintain": 1})
    (job,) = cluster.objects("jobs")
    assert job["status"]["succeeded"] == 1, job["status"]
    return f"{len(cluster.objects('pods'))} pods"


def an_upgrade_to_other_values_becomes_ready(cluster: Cluster) -> str:
    """Upgrades to the production values, which replace every pod."""
    before = {each["metadata"]["uid"] for each in cluster.objects("pods")}
    _helm(cluster, "upgrade", "production")
    (consumer,) = cluster.objects("statefulsets")
    _assert_workloads(cluster, {"energy-api": 3, "energy-consumer": consumer["spec"]["replicas"], "energy-maintain": 2})
    assert not before & {each["metadata"]["uid"] for each in cluster.objects("pods")}
    assert [each["metadata"]["name"] for each in cluster.objects("scaledobjects")] == ["energy-consumer"]
    return f"3 of api, {consumer['spec']['replicas']} of consumer"


def a_scaled_number_survives_an_upgrade(cluster: Cluster) -> str:
    """With autoscaling, an upgrade keeps the number of consumers that the scaler has set."""
    cluster.run("kubectl", "scale", "statefulset/energy-consumer", "--namespace=energy", "--replicas=4")
    _helm(cluster, "upgrade", "production", "--set=settings.LOG_LEVEL=WARNING")
    _assert_workloads(cluster, {"energy-api": 3, "energy-consumer": 4, "energy-maintain": 2})
    return "4 consumers before and after"


def autoscaling_can_be_switched_off_and_on(cluster: Cluster) -> str:
    """Off: the number of the values. On: one consumer, until the scaler sets another number."""
    _helm(cluster, "upgrade", "production", "--set=consumer.autoscaling.enabled=false,consumer.replicas=3")
    _assert_workloads(cluster, {"energy-api": 3, "energy-consumer": 3, "energy-maintain": 2})
    assert cluster.objects("scaledobjects") == []
    _helm(cluster, "upgrade", "production")
    _assert_workloads(cluster, {"energy-api": 3, "energy-consumer": 1, "energy-maintain": 2})
    return "4, 3, 1 consumers"


def a_rollback_restores_the_objects(cluster: Cluster) -> str:
    """Rolls back to the first revision: its objects and settings, and no migration."""
    (job,) = cluster.objects("jobs")
    cluster.run("helm", "rollback", RELEASE, "1", "--namespace=energy", "--wait", "--timeout=3m")
    _assert_workloads(cluster, {"energy-api": 1, "energy-consumer": 1, "energy-maintain": 1})
    assert cluster.objects("scaledobjects") == []
    assert [each["metadata"]["uid"] for each in cluster.objects("jobs")] == [job["metadata"]["uid"]]
    (settings,) = [each for each in cluster.objects("configmaps") if each["metadata"]["name"] == "energy-settings"]
    assert settings["data"]["LOG_LEVEL"] == "DEBUG"
    return "revision 1"


def a_migration_that_does_not_complete_stops_the_upgrade(cluster: Cluster) -> str:
    """No node has the label that the migration is to run on: nothing else of the upgrade is applied."""
    before = _versions(cluster)
    message = _failure(
        lambda: _helm(cluster, "upgrade", "defaults", "--set=migrate.nodeSelector.none=none", "--timeout=10s")
    )
    assert _versions(cluster) == before, message
    _helm(cluster, "upgrade", "defaults")
    _assert_workloads(cluster, {"energy-api": 2, "energy-consumer": 2, "energy-maintain": 2})
    return "and the next upgrade succeeds"


def pods_are_spread_over_nodes(cluster: Cluster) -> str:
    """The pods of each role run on different nodes."""
    nodes = _nodes(cluster)
    assert all(len(set(names.values())) == len(names) == 2 for names in nodes.values()), nodes
    return f"{len(nodes)} roles on {len(NODES)} nodes"


def a_drain_respects_the_budgets(cluster: Cluster) -> str:
    """While one pod of a role cannot start, the other one is not evicted; then all nodes can be drained in turn."""
    for node in NODES:
        cluster.run("kubectl", "cordon", node)
    first, second = sorted(_nodes(cluster)["consumer"].items())
    cluster.run("kubectl", "delete", "pod", first[0], "--namespace=energy")
    consumers = "--pod-selector=app.kubernetes.io/component=consumer"
    message = _failure(lambda: _drain(cluster, second[1], consumers, "--timeout=10s"))
    assert "violate the pod's disruption budget" in message, message
    assert second[0] in _nodes(cluster)["consumer"]
    for node in NODES:
        cluster.run("kubectl", "uncordon", node)
    for node in NODES:
        _drain(cluster, node, "--timeout=120s")
        cluster.run("kubectl", "uncordon", node)
        _wait_for_workloads(cluster)
    return f"{len(NODES)} nodes drained in turn"


def an_uninstall_leaves_only_the_job(cluster: Cluster) -> str:
    """The Job of the last migration is a hook and stays until its time to live has passed; Secrets are not ours."""
    cluster.run("helm", "uninstall", RELEASE, "--namespace=energy", "--wait", "--timeout=2m")
    assert [each["metadata"]["name"] for each in cluster.objects("jobs")] == ["energy-migrate"]
    cluster.run("kubectl", "delete", "job/energy-migrate", "--namespace=energy")
    _assert_nothing_is_left(cluster)
    return "energy-migrate"


CHECKS: Final[tuple[Check, ...]] = (
    objects_are_accepted,
    a_missing_scaler_is_named,
    the_scaler_is_accepted,
    an_install_becomes_ready,
    an_upgrade_to_other_values_becomes_ready,
    a_scaled_number_survives_an_upgrade,
    autoscaling_can_be_switched_off_and_on,
    a_rollback_restores_the_objects,
    a_migration_that_does_not_complete_stops_the_upgrade,
    pods_are_spread_over_nodes,
    a_drain_respects_the_budgets,
    an_uninstall_leaves_only_the_job,
)


def _helm(cluster: Cluster, action: str, layer: str, *arguments: str) -> str:
    options = (f"--namespace={RELEASE}", "--values=-", "--wait", "--timeout=3m", *arguments)
    return cluster.run("helm", action, RELEASE, str(CHART), *options, stdin=json.dumps(LAYERS[layer]))


def _failure(command: Callable[[], object]) -> str:
    """What a command prints that must fail."""
    try:
        command()
    except CommandError as error:
        return str(error)
    raise AssertionError("the command did not fail")


def _applied(cluster: Cluster, layer: str, *, without: str = "", only: str = "") -> list[str]:
    """The objects of a layer that the server accepts, as kind/name."""
    arguments = ("template", RELEASE, str(CHART), f"--namespace={RELEASE}", "--values=-")
    rendered = yaml.safe_load_all(cluster.run("helm", *arguments, stdin=json.dumps(LAYERS[layer])))
    kept = [each for each in rendered if each and each["kind"] != without and only in {"", each["kind"]}]
    options = ("--server-side", "--validate=strict", "--dry-run=server", "--warnings-as-errors", "--namespace=energy")
    printed = cluster.run("kubectl", "apply", *options, "--filename=-", stdin=yaml.safe_dump_all(kept))
    accepted = [line.split()[0] for line in printed.splitlines() if "serverside-applied" in line]
    assert len(accepted) == len(kept), printed
    return accepted


def _workloads(cluster: Cluster) -> list[dict[str, Any]]:
    return cluster.objects("deployments,statefulsets")


def _assert_workloads(cluster: Cluster, pods: Mapping[str, int]) -> None:
    ready = {each["metadata"]["name"]: each["status"].get("readyReplicas") for each in _workloads(cluster)}
    assert ready == pods, ready


def _wait_for_workloads(cluster: Cluster) -> None:
    for each in _workloads(cluster):
        name = f"{each['kind'].lower()}/{each['metadata']['name']}"
        cluster.run("kubectl", "rollout", "status", name, "--namespace=energy", "--timeout=120s")


def _versions(cluster: Cluster) -> dict[str, int]:
    return {each["metadata"]["name"]: each["metadata"]["generation"] for each in _workloads(cluster)}


def _nodes(cluster: Cluster) -> dict[str, dict[str, str]]:
    """The nodes of the running pods of each role, by the names of the pods."""
    nodes: dict[str, dict[str, str]] = {}
    for each in cluster.objects("pods", "--field-selector=status.phase=Running"):
        role = each["metadata"]["labels"]["app.kubernetes.io/component"]
        nodes.setdefault(role, {})[each["metadata"]["name"]] = each["spec"]["nodeName"]
    return nodes


def _drain(cluster: Cluster, node: str, *arguments: str) -> str:
    return cluster.run("kubectl", "drain", node, "--delete-emptydir-data", "--ignore-daemonsets", *arguments)


def _assert_nothing_is_left(cluster: Cluster) -> None:
    kinds = "all,configmaps,networkpolicies,poddisruptionbudgets,serviceaccounts"
    left = [each["metadata"]["name"] for each in cluster.objects(kinds, "--selector=app.kubernetes.io/instance=energy")]
    assert left == [], left
