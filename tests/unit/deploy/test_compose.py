"""docker-compose.yml compared with the code: settings, commands, ports, secrets. No container engine is needed."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest
import yaml

from deploy.compose.__main__ import LOGINS
from deploy.stack import containers
from deploy.stack.postgres import INITDB_OPTIONS
from tests.support.repository import ROOT
from tests.support.repository.manifests import Process, manifest_errors

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}


def schema_errors(compose: dict[str, Any]) -> list[str]:
    schema = json.loads((ROOT / "tests" / "schemas" / "compose.json").read_text())
    known = {
        key: value for key, value in compose.items() if key != "name"
    }  # younger than the schema: tests/schemas/README.md
    return [f"{error.json_path}: {error.message}" for error in jsonschema.Draft7Validator(schema).iter_errors(known)]


def test_the_file_is_valid_by_the_compose_specification() -> None:
    assert schema_errors(COMPOSE) == []
    assert re.fullmatch(r"[a-z0-9][a-z0-9_-]*", COMPOSE["name"])


@pytest.mark.parametrize(
    ("service", "wrong"),
    [
        ({"mem_limits": "1g"}, "mem_limits"),
        ({"cap_drop": "ALL"}, "cap_drop"),
        ({"healthcheck": {"tests": []}}, "tests"),
    ],
)
def test_the_schema_detects_errors(service: dict[str, Any], wrong: str) -> None:
    changed = COMPOSE | {"services": SERVICES | {"api": SERVICES["api"] | service}}
    assert any(wrong in error for error in schema_errors(changed))


def test_all_roles_are_present() -> None:
    assert {"migrate", "topics", "maintain", "consumer", "api", "operator"} == set(OURS)
    assert {"kafka", "postgres", "prometheus", "grafana"} == set(SERVICES) - set(OURS)


@pytest.mark.parametrize("name", OURS)
def test_our_services_have_commands_and_settings_of_the_code(name: str) -> None:
    service = OURS[name]
    process = Process(name, service["command"], frozenset(service["environment"]))
    if name == "operator":  # for any command: its own is only the default
        process = replace(
            process, command=["python", "-m", "consumer"], environment=process.environment - {"ARCHIVE_DIRECTORY"}
        )
    assert manifest_errors(process) == []


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_hardened(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert not service.get("privileged")
    if name != "kafka":  # the Kafka image writes its configuration, and does not run as root
        assert service["read_only"] is True
        assert int(service["user"].split(":")[0]) > 0
    if service.get("restart") != "no":
        assert service["healthcheck"]["test"][0] == "CMD"


def test_images_are_pinned_by_version() -> None:
    images = {service["image"]: service["build"].get("target") for service in OURS.values()}
    assert sorted(images.items()) == [
        ("energy-ingestion-engine:0.1.0", None),
        ("energy-ingestion-engine:0.1.0-full", "full"),
    ]
    for name, service in OURS.items():
        needed = name in ("migrate", "operator") or "ARCHIVE_DIRECTORY" in service["environment"]
        assert (service["build"].get("target") == "full") == needed, name
    base = re.search(r"^ARG PYTHON_IMAGE=(.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert base is not None
    for image in (base[1], *(service["image"] for service in SERVICES.values())):
        assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+(\.\d+)?(-[a-z-]+)?", image), image


def test_the_file_contains_no_secret() -> None:
    for name, service in OURS.items():
        assert not {"DATABASE_URL", "KAFKA_SASL_PASSWORD"} & set(service["environment"]), name
    named = {
        each if isinstance(each, str) else each["source"]
        for one in SERVICES.values()
        for each in one.get("secrets", [])
    }
    assert named == set(COMPOSE["secrets"])


def test_secrets_are_ignored_by_git() -> None:
    assert "/.secrets/" in (ROOT / ".gitignore").read_text().split()
    assert {str(Path(each["file"]).parent) for each in COMPOSE["secrets"].values()} == {".secrets"}


def test_secrets_are_mounted_at_the_paths_of_the_settings() -> None:
    for name, service in OURS.items():
        targets = {f"/run/secrets/{each['target']}" for each in service.get("secrets", [])}
        files = {value for key, value in service["environment"].items() if key.endswith("_FILE")}
        assert files == targets, name


def test_ports_match_the_settings_of_the_processes() -> None:
    for name, service in OURS.items():
        probe = " ".join(service.get("healthcheck", {}).get("test", []))
        for key in ("METRICS_PORT", "API_PORT", "MAINTAIN_METRICS_PORT"):
            if key in service["environment"]:
                assert f":{service['environment'][key]}/" in probe, name
    for service in SERVICES.values():  # published to this machine only
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_prometheus_scrapes_all_our_processes() -> None:
    read = {
        name: yaml.safe_load((ROOT / f"deploy/prometheus/{name}.yml").read_text()) for name in ("prometheus", "compose")
    }
    jobs = {
        each["job_name"]: (found["names"], found["port"])
        for each in read["compose"]["scrape_configs"]
        for found in each["dns_sd_configs"]
    }
    assert jobs == {
        "energy-consumer": (["consumer"], int(SERVICES["consumer"]["environment"]["METRICS_PORT"])),
        "energy-maintain": (["maintain"], int(SERVICES["maintain"]["environment"]["MAINTAIN_METRICS_PORT"])),
        "energy-api": (["api"], int(SERVICES["api"]["environment"]["API_PORT"])),
    }
    assert list(jobs) == [each["job_name"] for each in read["prometheus"]["scrape_configs"]]
    for name in ("global", "rule_files"):
        assert read["compose"][name] == read["prometheus"][name]
    assert "--config.file=/etc/prometheus/compose.yml" in SERVICES["prometheus"]["command"]


def test_any_number_of_consumers_can_run() -> None:
    consumer = SERVICES["consumer"]
    assert not {"container_name", "hostname", "ports"} & set(consumer)
    assert "KAFKA_GROUP_INSTANCE_ID" not in consumer["environment"]  # two with one name throw each other out


def test_no_container_leaves_an_anonymous_volume() -> None:
    """Each volume that an image declares is a mount of the service."""
    declared = {
        "kafka": {"/etc/kafka/secrets", "/var/lib/kafka/data", "/mnt/shared/config"},
        "postgres": {"/var/lib/postgresql"},
        "prometheus": {"/prometheus"},
    }
    for name, volumes in declared.items():
        stand_in = (ROOT / f"deploy/containers/standins/{name}/Dockerfile").read_text()
        written = re.search(r"^VOLUME (.*)$", stand_in, re.MULTILINE)
        assert written
        assert set(json.loads(written[1])) == volumes
        service = SERVICES[name]
        mounts = {each.split(":")[1] for each in service["volumes"]} | {
            each.split(":")[0] for each in service.get("tmpfs", [])
        }
        assert volumes <= mounts, name


def test_no_health_check_starts_a_java_runtime() -> None:
    assert not any("/opt/kafka/bin" in part for part in SERVICES["kafka"]["healthcheck"]["test"])


def test_postgresql_is_initialised_as_the_local_stack_is() -> None:
    options = SERVICES["postgres"]["environment"]["POSTGRES_INITDB_ARGS"].split()
    assert set(INITDB_OPTIONS) <= set(options)


def test_the_local_stack_in_containers_has_the_same_images() -> None:
    images = (containers.KAFKA_IMAGE, containers.POSTGRES_IMAGE)
    assert images == (SERVICES["kafka"]["image"], SERVICES["postgres"]["image"])


def test_mounted_files_exist() -> None:
    mounts = {each.split(":")[0] for service in SERVICES.values() for each in service.get("volumes", [])}
    files = {each for each in mounts if each.startswith("./")}
    assert files
    assert [each for each in files if not (ROOT / each).exists()] == []
    assert {each for each in mounts if not each.startswith("./")} == set(COMPOSE["volumes"])


def test_dependencies_are_existing_services() -> None:
    for name, service in SERVICES.items():
        assert set(service.get("depends_on", {})) <= set(SERVICES), name


def test_the_image_contains_the_packages_of_the_processes() -> None:
    lines = (ROOT / "Dockerfile").read_text()
    assert re.findall(r"^COPY ([a-z]+) \1$", lines, re.MULTILINE) == ["schemas", "sql", "consumer", "api"]
    assert "--require-hashes" in (ROOT / "deploy/packages.sh").read_text()
    assert re.search(r"^USER 10001:10001$", lines, re.MULTILINE)
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", lines, re.MULTILINE)
    kept = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")}
    assert kept == set(copied)


def test_secrets_are_created_once_and_are_consistent(tmp_path: Path) -> None:
    directory = tmp_path / "secrets"
    # -S: no installed packages, as on a host that has a container engine and Python alone
    make = [sys.executable, "-S", "-m", "deploy.compose", "--directory", str(directory)]
    first = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True)
    written = {file.name: file.read_text() for file in directory.iterdir()}
    assert {Path(each["file"]).name for each in COMPOSE["secrets"].values()} == set(written)
    assert directory.stat().st_mode & 0o777 == 0o700
    for login in LOGINS:
        address = urlsplit(written[f"{login}-url"])
        assert (address.username, address.password, address.hostname, address.path) == (
            login, written[f"{login}-password"], "postgres", "/energy",
        )  # fmt: skip
    assert len({value for name, value in written.items() if name.endswith("password")}) == 5
    subprocess.run(make, cwd=ROOT, capture_output=True, check=True)
    assert {file.name: file.read_text() for file in directory.iterdir()} == written
    assert not any(value in first.stdout + first.stderr for value in written.values())
