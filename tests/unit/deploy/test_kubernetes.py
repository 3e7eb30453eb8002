"""The objects that helm renders from deploy/k8s, compared with the code and the schemas of Kubernetes."""

import copy
import json
import re
import tomllib
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
from tests.support.repository.chart import (
    CHART,
    HELM,
    KAFKA,
    LAYERS,
    NO_HELM,
    OF_OPENTELEMETRY,
    RELEASE,
    TOKENS,
    helm,
    rendered,
)
from tests.support.repository.chart_schema import SET_BY_TEMPLATES
from tests.support.repository.manifests import Process, all_settings, manifest_errors, unknown_metrics

pytestmark = pytest.mark.skipif(HELM is None, reason=NO_HELM)

# The oldest and the newest supported version. Objects must be valid for both.
KUBERNETES = ("1.32", "1.37")
PORTS = {"consumer": 9464, "api": 3000, "maintain": 9465}
WORKLOADS = {"Deployment", "StatefulSet", "Job"}


def workloads(layer: str) -> list[dict[str, Any]]:
    return [each for each in rendered(layer) if each["kind"] in WORKLOADS]


def of_kind(layer: str, kind: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in rendered(layer) if each["kind"] == kind}


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
def test_every_object_is_valid(version: str) -> None:
    kubernetes_validate = pytest.importorskip(
        "kubernetes_validate", reason="the schemas of Kubernetes are a development package"
    )
    different = {json.dumps(each): each for layer in LAYERS for each in rendered(layer)}
    for each in different.values():
        if each["kind"] != "ScaledObject":  # KEDA has its own schema: below
            kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("layer", LAYERS)
def test_processes_have_commands_and_settings_of_the_code(layer: str) -> None:
    common = set(of_kind(layer, "ConfigMap")["energy-settings"]["data"])
    for workload in workloads(layer):
        names = frozenset(environment(workload)) - common
        assert manifest_errors(Process(workload["metadata"]["name"], container(workload)["command"], names)) == []


@pytest.mark.parametrize("layer", LAYERS)
def test_common_settings_exist_and_are_not_secret(layer: str) -> None:
    common = of_kind(layer, "ConfigMap")["energy-settings"]["data"]
    assert set(common) <= all_settings() | set(OF_OPENTELEMETRY)
    assert "KAFKA_BOOTSTRAP_SERVERS" in common
    assert not [name for name in common if re.search("PASSWORD|DATABASE", name)]
    assert "Secret" not in {each["kind"] for each in rendered(layer)}


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
        } | {
            f"{mounted[name]}/{source['serviceAccountToken']['path']}"
            for name, volume in volumes.items()
            for source in volume.get("projected", {}).get("sources", [])
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
    common = of_kind(layer, "ConfigMap")["energy-settings"]["data"]
    default = ConsumerSettings.model_fields["shutdown_timeout_seconds"].default
    takes = float(common.get("SHUTDOWN_TIMEOUT_SECONDS", default)) + LEAVE_TIMEOUT_SECONDS
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
    closed = policies["energy-default-deny"]["spec"]
    assert set(closed["policyTypes"]) == {"Ingress", "Egress"}
    assert not {"ingress", "egress"} & set(closed)
    into = {
        port["port"] for one in policies.values() for rule in one["spec"].get("ingress", []) for port in rule["ports"]
    }
    assert into == set(PORTS.values())
    for one in policies.values():
        assert all(rule["from"] for rule in one["spec"].get("ingress", []))
        every = one["spec"]["podSelector"]["matchLabels"]  # of this release only
        assert every.items() >= {"app.kubernetes.io/instance": "energy"}.items()
    for workload in workloads(layer):
        assert (
            workload["spec"]["template"]["metadata"]["labels"].items() >= closed["podSelector"]["matchLabels"].items()
        )


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
    assert scaler_errors(of_kind("production", "ScaledObject")["energy-consumer"]) == []


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"maxReplicas": 3}, "maxReplicas"),
        ({"pollingInterval": "15s"}, "15s"),
        ({"triggers": [{"type": "prometheus"}]}, "metadata"),
    ],
)
def test_the_schema_of_keda_detects_errors(change: dict[str, Any], wrong: str) -> None:
    scaler = of_kind("production", "ScaledObject")["energy-consumer"]
    assert any(wrong in error for error in scaler_errors(scaler | {"spec": scaler["spec"] | change}))


def partitions_of_readings() -> int:
    """The number of partitions of both topics in docker-compose.yml. The demo creates as many."""
    command = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["topics"]["command"]
    assert command == ["python", "-m", "consumer", "topics", "create", "--partitions", str(PARTITIONS)]
    topics = [topic for topic in record_types_by_topic(ConsumerSettings()) if topic.endswith("-readings")]
    return PARTITIONS * len(topics)


def test_the_scaler_uses_an_existing_metric_and_is_limited_by_the_partitions() -> None:
    scaled = of_kind("production", "ScaledObject")["energy-consumer"]["spec"]
    consumer = of_kind("production", "StatefulSet")["energy-consumer"]
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


def test_all_processes_run_the_image_of_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (version, version)
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    slim, full = compose["consumer"]["image"], compose["migrate"]["image"]
    assert (slim, full) == (f"energy-ingestion-engine:{version}", f"energy-ingestion-engine:{version}-full")
    without_archive = {"api": slim, "consumer": slim, "maintain": slim, "migrate": full}
    digests = [f"registry.example/energy@sha256:{digit * 64}" for digit in "01"]
    images = {layer: {component(each): container(each)["image"] for each in workloads(layer)} for layer in LAYERS}
    assert images == {
        "defaults": without_archive,
        "endpoint": without_archive,
        "account": without_archive,
        "development": without_archive,
        "production": {role: f"registry.example/{image}" for role, image in without_archive.items()},
        "options": {"api": digests[1], "consumer": digests[0], "maintain": digests[1], "migrate": digests[1]},
    }


@pytest.mark.parametrize("layer", LAYERS)
def test_every_object_has_the_labels(layer: str) -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    wanted = {
        "app.kubernetes.io/name": chart["name"],
        "app.kubernetes.io/instance": "energy",
        "app.kubernetes.io/version": chart["appVersion"],
        "app.kubernetes.io/managed-by": "Helm",
        "helm.sh/chart": f"{chart['name']}-{chart['version']}",
    }
    for each in rendered(layer):
        labels = each["metadata"]["labels"]
        assert wanted.items() <= labels.items(), each["metadata"]["name"]
        assert each["metadata"]["name"].startswith("energy")
        if each["kind"] in WORKLOADS:
            of_pods = each["spec"]["template"]["metadata"]["labels"].items()
            assert of_pods <= labels.items()
            if each["kind"] != "Job":
                assert each["spec"]["selector"]["matchLabels"].items() == of_pods


@pytest.mark.parametrize("layer", LAYERS)
def test_the_migration_precedes_all_other_objects_and_depends_on_none_of_them(layer: str) -> None:
    job = of_kind(layer, "Job")["energy-migrate"]
    assert job["metadata"]["annotations"] == {
        "helm.sh/hook": "pre-install,pre-upgrade",
        "helm.sh/hook-delete-policy": "before-hook-creation",
    }
    assert "envFrom" not in container(job)
    assert "serviceAccountName" not in pod(job)
    common = of_kind(layer, "ConfigMap")["energy-settings"]["data"]
    assert common.items() <= environment(job).items()


def test_the_options_reach_the_pods() -> None:
    common = of_kind("options", "ConfigMap")["energy-settings"]["data"]
    assert (common["BATCH_MAX_BYTES"], common["BREAKER_SHARE"]) == ("134217728", "0.25")
    for workload in workloads("options"):
        given = LAYERS["options"][component(workload)]
        assert {name: pod(workload)[name] for name in given} == given
        assert pod(workload)["imagePullSecrets"] == [{"name": "registry"}]
        archive = {
            each["mountPath"]: each.get("readOnly", False)
            for each in container(workload)["volumeMounts"]
            if each["name"] == "archive"
        }
        expected = {"api": {"/var/lib/energy/archive": True}, "maintain": {"/var/lib/energy/archive": False}}
        assert archive == expected.get(component(workload), {})
        assert environment(workload).get("ARCHIVE_DIRECTORY") == next(iter(archive), None)
    consumer = environment(of_kind("options", "StatefulSet")["energy-consumer"])
    assert {name: value for name, value in consumer.items() if name.startswith("KAFKA_S")} == {
        "KAFKA_SSL_CAFILE": "/run/secrets/energy-kafka/ca.crt",
        "KAFKA_SSL_CERTFILE": "/run/secrets/energy-kafka/tls.crt",
        "KAFKA_SSL_KEYFILE": "/run/secrets/energy-kafka/tls.key",
    }


def test_pods_authenticate_to_kafka_with_tokens() -> None:
    files = {
        "endpoint": {
            "KAFKA_OAUTH_CLIENT_ID": {"secretKeyRef": {"name": "energy-kafka", "key": "client-id"}},
            "KAFKA_OAUTH_CLIENT_SECRET_FILE": "/run/secrets/energy-kafka/client-secret",
            "KAFKA_OAUTH_SSL_CAFILE": "/run/secrets/energy-kafka/oauth-ca.crt",
            "KAFKA_SSL_CAFILE": "/run/secrets/energy-kafka/ca.crt",
        },
        "account": {"KAFKA_OAUTH_TOKEN_FILE": "/run/secrets/energy-kafka-token/token"},
    }
    for layer, expected in files.items():
        for name in ("Deployment/energy-api", "StatefulSet/energy-consumer"):
            kind, _, workload = name.partition("/")
            given = environment(of_kind(layer, kind)[workload])
            assert {key: value for key, value in given.items() if key.startswith(("KAFKA_O", "KAFKA_S"))} == expected
    token = next(
        each
        for each in pod(of_kind("account", "StatefulSet")["energy-consumer"])["volumes"]
        if each["name"] == "kafka-token"
    )
    assert token["projected"]["sources"] == [
        {"serviceAccountToken": {"audience": "kafka", "expirationSeconds": 3600, "path": "token"}}
    ]
    assert "energy-to-tokens" in of_kind("endpoint", "NetworkPolicy")
    assert "energy-to-tokens" not in of_kind("account", "NetworkPolicy")


def test_each_process_has_the_certificate_of_its_login() -> None:
    logins = {"api": "reader", "consumer": "writer", "maintain": "migrator", "migrate": "migrator"}
    for workload in workloads("endpoint"):
        (database,) = [each for each in pod(workload)["volumes"] if each["name"] == "database"]
        certificates = {each["key"]: each["path"] for each in database["secret"]["items"] if "tls" in each["key"]}
        login = logins[component(workload)]
        assert certificates == {f"{login}-tls.crt": "tls.crt", f"{login}-tls.key": "tls.key"}


@pytest.mark.parametrize("layer", ["options", "production"])
def test_the_authority_of_the_database_is_mounted_where_the_urls_name_it(layer: str) -> None:
    described = json.loads((CHART / "values.schema.json").read_text())["properties"]["database"]["properties"]
    for workload in workloads(layer):
        (database,) = [each for each in pod(workload)["volumes"] if each["name"] == "database"]
        (mount,) = [each for each in container(workload)["volumeMounts"] if each["name"] == "database"]
        assert {"key": "ca.crt", "path": "ca.crt"} in database["secret"]["items"]
        assert f"sslrootcert={mount['mountPath']}/ca.crt" in described["privateCA"]["description"]


def test_a_second_release_in_the_namespace_shares_nothing() -> None:
    done = helm("template", "other", *RELEASE[1:], values=LAYERS["options"])
    other = [each for each in yaml.safe_load_all(done.stdout) if each]
    names = [{(each["kind"], each["metadata"]["name"]) for each in objects} for objects in (rendered("options"), other)]
    assert not names[0] & names[1]
    shared = "energy-(ingestion|kafka|schema-registry|database|api-keys|archive|keys)|/energy"
    assert "energy-" not in re.sub(shared, "", done.stdout)
    assert done.stdout.count("app.kubernetes.io/instance: other") == done.stdout.count("app.kubernetes.io/name:")


def test_changed_settings_replace_the_pods() -> None:
    changes = {
        workload["spec"]["template"]["metadata"]["annotations"]["checksum/settings"]
        for layer in LAYERS
        for workload in workloads(layer)
        if workload["kind"] != "Job"
    }
    assert len(changes) == len(LAYERS)


def test_only_the_development_values_have_a_password() -> None:
    plain = {layer: {"DATABASE_URL" in environment(each) for each in workloads(layer)} for layer in LAYERS}
    assert plain == {layer: {layer == "development"} for layer in LAYERS}


def test_the_schema_has_every_setting_that_the_templates_do_not_set() -> None:
    allowed = json.loads((CHART / "values.schema.json").read_text())["properties"]["settings"]["properties"]
    set_by_templates = {name for layer in LAYERS for each in workloads(layer) for name in environment(each)} - set(
        allowed
    )
    hosts = {"METRICS_HOST", "MAINTAIN_METRICS_HOST"}  # all addresses by default
    secrets = {
        "DATABASE_URL",
        "DATABASE_READ_URL",
        "DATABASE_CELLS",
        "KAFKA_SASL_PASSWORD",
        "KAFKA_OAUTH_CLIENT_SECRET",
        "SCHEMA_REGISTRY_PASSWORD",
    }
    assert {
        name.removesuffix("_FILE") if name.removesuffix("_FILE") in secrets else name for name in set_by_templates
    } == (SET_BY_TEMPLATES - hosts | secrets | set(OF_OPENTELEMETRY))
    secrets.add("TARGET_DATABASE_URL")  # of a command that an operator runs
    assert set(allowed) | SET_BY_TEMPLATES | secrets | {f"{name}_FILE" for name in secrets} == all_settings()


@pytest.mark.parametrize("layer", LAYERS)
def test_the_chart_is_free_of_warnings(layer: str) -> None:
    done = helm("lint", str(CHART), "--strict", "--quiet", values=LAYERS[layer])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "missing property 'KAFKA_BOOTSTRAP_SERVERS'"),
        ({"settings": KAFKA | {"LOG_LEVLE": "INFO"}}, "additional properties 'LOG_LEVLE' not allowed"),
        ({"settings": KAFKA | {"KAFKA_SASL_PASSWORD": "x"}}, "additional properties 'KAFKA_SASL_PASSWORD' not allowed"),
        ({"settings": KAFKA | {"RETENTION_DAYS": 0}}, "at '/settings/RETENTION_DAYS': minimum: got 0, want 1"),
        (
            {"settings": KAFKA | {"LOG_FORMAT": "xml"}},
            "at '/settings/LOG_FORMAT': value must be one of 'json', 'console'",
        ),
        ({"settings": KAFKA, "api": {"replicas": "2"}}, "at '/api/replicas': got string, want integer"),
        ({"settings": KAFKA, "consumer": {"replica": 2}}, "additional properties 'replica' not allowed"),
        ({"settings": KAFKA, "image": {"digest": "sha256:1"}}, "at '/image/digest'"),
        (
            {"settings": KAFKA, "schemaRegistry": {"basicAuth": True, "privateCA": True}},
            "schemaRegistry.secret must name a Secret with ca.crt, password",
        ),
        (
            {"settings": KAFKA | {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}},
            "kafka.secret must name a Secret with ca.crt, password, because settings.KAFKA_SECURITY_PROTOCOL is SASL_SSL",
        ),
        (
            {"settings": KAFKA | TOKENS},
            "OAUTHBEARER needs exactly one of settings.KAFKA_OAUTH_TOKEN_URL, settings.KAFKA_OAUTH_AWS_REGION and kafka.oauth",
        ),
        (
            {"settings": KAFKA | TOKENS | {"KAFKA_OAUTH_TOKEN_URL": "https://login.example"}},
            "kafka.secret must name a Secret with ca.crt, client-secret",
        ),
        (
            {"settings": KAFKA, "kafka": {"oauth": {"serviceAccountAudience": "kafka"}}},
            "kafka.oauth.serviceAccountAudience needs settings.KAFKA_SASL_MECHANISM OAUTHBEARER",
        ),
        (
            {"settings": {"KAFKA_BOOTSTRAP_SERVERS": "a:9092,b:9094"}},
            "networkPolicy.kafka.ports must have the port of b:9094 (settings.KAFKA_BOOTSTRAP_SERVERS)",
        ),
        (
            {"settings": KAFKA, "database": {"cells": True}},
            "with database.cells, settings.INGESTION_ENABLED must be false",
        ),
        (
            {"settings": KAFKA, "database": {"cells": True, "readReplica": True}},
            "database.cells and database.readReplica exclude each other",
        ),
        (
            {"settings": KAFKA, "consumer": {"autoscaling": {"minReplicas": 17}}},
            "consumer.autoscaling.minReplicas (17) is greater than maxReplicas (16)",
        ),
    ],
)
def test_wrong_values_are_refused_with_what_is_wrong(values: dict[str, Any], message: str) -> None:
    done = helm("template", *RELEASE, values=values)
    assert done.returncode != 0
    assert message in done.stderr


@pytest.mark.parametrize("layer", LAYERS)
def test_the_notes_name_existing_objects(layer: str) -> None:
    done = helm("install", *RELEASE, "--dry-run=client", "--output=json", values=LAYERS[layer])
    assert done.returncode == 0, done.stderr
    notes = json.loads(done.stdout)["info"]["notes"]
    named = set(re.findall(r"(?:statefulset|deployment|service)/[a-z-]+", notes))
    assert len(named) == 4
    assert named <= {f"{each['kind'].lower()}/{each['metadata']['name']}" for each in rendered(layer)}
    assert ("for development only" in notes) == (layer == "development")
