"""The objects that `helm template` renders from deploy/k8s with some values. No cluster is needed."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import yaml

from tests.support.repository import ROOT

CHART: Final = ROOT / "deploy" / "k8s"
HELM: Final = shutil.which("helm")
NO_HELM: Final = "helm is missing: go install helm.sh/helm/v4/cmd/helm@v4.3.2"
RELEASE: Final = ("energy", str(CHART), "--namespace=energy")
KAFKA: Final = {"KAFKA_BOOTSTRAP_SERVERS": "kafka:9092"}
# Every option that the other values leave off.
OF_OPENTELEMETRY: Final = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio"}  # its SDK alone knows them
OPTIONS: Final = {
    "image": {
        "repository": "registry.example/energy",
        "digest": "sha256:" + "0" * 64,
        "full": {"digest": "sha256:" + "1" * 64},
        "pullSecrets": ["registry"],
    },
    "settings": {
        "KAFKA_BOOTSTRAP_SERVERS": "kafka-1:9094,kafka-2:9094",
        "KAFKA_SECURITY_PROTOCOL": "SSL",
        "SHUTDOWN_TIMEOUT_SECONDS": 60,
        "BATCH_MAX_BYTES": 134217728,
        "BREAKER_SHARE": 0.25,
        "INGESTION_ENABLED": False,
        "KAFKA_METER_FORMAT": "avro",
        "SCHEMA_REGISTRY_URL": "https://registry:8081",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
    }
    | OF_OPENTELEMETRY,
    "schemaRegistry": {
        "secret": "energy-schema-registry",
        "basicAuth": True,
        "privateCA": True,
        "clientCertificate": True,
    },
    "database": {"privateCA": True, "cells": True},
    "kafka": {"secret": "energy-kafka", "clientCertificate": True},
    "archive": {"claim": "energy-archive"},
    "networkPolicy": {"kafka": {"ports": [9094], "to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}]}},
} | {
    role: {
        "nodeSelector": {"pool": "energy"},
        "tolerations": [{"key": "pool", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "Exists"}]}]
                }
            }
        },
        "priorityClassName": "energy",
    }
    for role in ("api", "consumer", "maintain", "migrate")
}
# Tokens for Kafka from an endpoint, and from the service account.
TOKENS: Final = {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_MECHANISM": "OAUTHBEARER"}
ENDPOINT: Final = {
    "settings": KAFKA | TOKENS | {"KAFKA_OAUTH_TOKEN_URL": "https://login.example/token"},
    "kafka": {"secret": "energy-kafka", "oauth": {"privateCA": True}},
    "database": {"clientCertificates": True},
}
ACCOUNT: Final = {
    "settings": KAFKA | TOKENS,
    "kafka": {"privateCA": False, "oauth": {"serviceAccountAudience": "kafka"}},
}
LAYERS: Final[Mapping[str, dict[str, Any]]] = {
    "defaults": {"settings": KAFKA},
    "options": OPTIONS,
    "endpoint": ENDPOINT,
    "account": ACCOUNT,
    "development": yaml.safe_load((CHART / "development.yaml").read_text()),
    "production": yaml.safe_load((CHART / "production.yaml").read_text()),
}


def helm(command: str, *arguments: str, values: Mapping[str, Any]) -> subprocess.CompletedProcess[str]:
    """A helm command with values from standard input."""
    return subprocess.run(
        [str(HELM), command, *arguments, "--values=-"],
        input=json.dumps(values),
        capture_output=True,
        text=True,
        check=False,
    )


@cache
def rendered(layer: str) -> tuple[dict[str, Any], ...]:
    """The objects of a layer, hooks included."""
    done = helm("template", *RELEASE, values=LAYERS[layer])
    assert done.returncode == 0, done.stderr
    return tuple(each for each in yaml.safe_load_all(done.stdout) if each)
