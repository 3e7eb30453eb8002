"""What must hold for the containers. Every check waits for a condition with a deadline."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from deploy.containers.project import Project
from deploy.containers.run import CommandError

PRODUCER: Final = Path(__file__).with_name("producer.py")
MORE_CONSUMERS: Final = 3
METER: Final = "METER-CHECK"
KWH: Final = 45.23
KILLED: Final = 137  # exit code of a container that had to be killed
INTERRUPTED: Final = 130  # of a command that SIGTERM ended
TIMEOUT_SECONDS: Final = 300.0
BUILD_TIMEOUT_SECONDS: Final = 1800.0  # packages are downloaded and compiled


def check(project: Project) -> None:
    """Runs all checks in order.

    Raises:
        AssertionError: something does not hold; the message says what.
        TimeoutError: it did not come to hold in time.
        CommandError: a command of the container engine failed.
    """
    volumes = project.docker.ids("volume", "ls", "--quiet")
    project.report("building the image")
    # The targets share stages: one after the other builds them once.
    project.compose("--parallel", "1", "build", timeout=BUILD_TIMEOUT_SECONDS)
    report_sizes(project)
    up(project)
    readings = Readings(project)
    readings.send_over_http()
    readings.send_over_kafka(1000)
    readings.wait_until_stored()
    operators_commands(project)
    scaled_consumers(project)
    killed_consumer(project, readings)
    restarted_database(project, readings)
    down_and_up(project, readings)
    orderly_shutdown(project)
    interrupted_migration(project)
    project.report("removing everything")
    project.remove()
    left = [
        *project.leftovers(),
        *(f"volume {each}" for each in project.docker.ids("volume", "ls", "--quiet") - volumes),
    ]
    _ensure(not left, f"left behind: {', '.join(left)}")
    project.report("all checks passed, and nothing is left")


def up(project: Project, *options: str) -> None:
    """Starts the project and waits until all containers are healthy, and those that run once have succeeded."""
    services = project.services()
    project.report(f"docker compose up: {', '.join(services)}")
    project.compose("up", "--detach", *options, *services)
    _until(lambda: all(_is_up(project, each) for each in services), "all containers are healthy")
    project.report("all containers are healthy")


class Readings:
    """Readings that were acknowledged, and whether all of them are stored."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._start = datetime.now(UTC).replace(microsecond=0)
        self._over_kafka = 0

    def send_over_http(self) -> None:
        body = {"meterId": METER, "kwhConsumedAc": KWH, "voltage": 240.5, "timestamp": self._start.isoformat()}
        _until(lambda: _http(f"{self._api()}/v1/ingestion/meter", body)["success"], "the API accepts a reading")

    def send_over_kafka(self, count: int) -> None:
        """Returns when Kafka has acknowledged all."""
        numbers = [self._start.isoformat(), str(self._over_kafka), str(count)]
        self._project.compose("exec", "-T", "api", "python", "-c", PRODUCER.read_text(), *numbers)
        self._over_kafka += count

    def wait_until_stored(self) -> None:
        """Waits until the API answers with the meter's reading, and the database has each of the others exactly once."""
        _until(
            lambda: _http(f"{self._api()}/v1/meters/{METER}")["lastKwhConsumedAc"] == KWH,
            "the API answers with the reading that was sent over HTTP",
        )
        _until(lambda: self._stored() >= self._over_kafka, f"{self._over_kafka} readings are stored")
        _ensure(self._stored() == self._over_kafka, f"{self._stored()} readings are stored, sent: {self._over_kafka}")
        self._project.report(f"{self._over_kafka} readings over Kafka and one over HTTP are stored, each once")

    def _stored(self) -> int:
        query = "SELECT count(*) FROM vehicle_telemetry_history"
        command = ["psql", "--username", "postgres", "--dbname", "energy", "-Atc", query]
        return int(self._project.compose("exec", "-T", "postgres", *command))

    def _api(self) -> str:
        return self._project.address("api", 3000)


def report_sizes(project: Project) -> None:
    listed = project.docker("images", "--format", "{{.Repository}}:{{.Tag}} {{.Size}}")
    names = {*project.built_images(), project.images()[0]}
    project.report("; ".join(sorted(line for line in listed.splitlines() if line.split()[0] in names)))


def operators_commands(project: Project) -> None:
    """The doctor finds no failure, and the commands of the runbook run in a container."""
    project.run_as_operator("python", "-m", "sql", "maintain", "--once")
    found = project.run_as_operator("python", "-m", "sql", "doctor", "--ledger")
    project.report(f"doctor: {found.splitlines()[0]}, {len(found.splitlines()) - 1} findings, none of them a warning")
    shown = json.loads(project.run_as_operator("python", "-m", "consumer", "offsets", "show", "--json").splitlines()[0])
    _ensure(shown["state"] == "ok", f"offsets show: {shown}")


def scaled_consumers(project: Project) -> None:
    """More consumers by one command; Prometheus finds every process."""
    up(project, "--no-recreate", "--scale", f"consumer={MORE_CONSUMERS}")
    expected = sorted(["energy-api", "energy-maintain", *["energy-consumer"] * MORE_CONSUMERS])
    address = f"{project.address('prometheus', 9090)}/api/v1/targets?state=active"

    def all_up() -> bool:
        targets = _http(address)["data"]["activeTargets"]
        return sorted(each["labels"]["job"] for each in targets if each["health"] == "up") == expected

    _until(all_up, f"Prometheus reads {', '.join(expected)}")
    project.report(f"Prometheus reads {len(expected)} processes")


def killed_consumer(project: Project, readings: Readings) -> None:
    """A consumer that is killed comes back by itself, and no reading is lost."""
    victim = project.containers("consumer")[0]
    readings.send_over_kafka(2000)
    kill = f"import os; os.kill({victim['State']['Pid']}, 9)"
    image = project.config["services"]["consumer"]["image"]
    project.docker("run", "--rm", "--pid", "host", "--user", "0:0", "--network", "none", image, "python", "-c", kill)
    readings.send_over_kafka(2000)

    def came_back() -> bool:
        (now,) = (each for each in project.containers("consumer") if each["Id"] == victim["Id"])
        return bool(now["RestartCount"] and now["State"]["Running"])

    _until(came_back, "the killed consumer runs again")
    project.report("a killed consumer came back")
    readings.wait_until_stored()


def restarted_database(project: Project, readings: Readings) -> None:
    project.compose("restart", "postgres")
    project.report("the database was restarted")
    readings.send_over_kafka(1000)
    readings.wait_until_stored()


def down_and_up(project: Project, readings: Readings) -> None:
    """The data outlives the containers."""
    project.report("docker compose down")
    project.compose("down")
    up(project)
    readings.wait_until_stored()


def orderly_shutdown(project: Project) -> None:
    """Every role of ours exits with code 0 on SIGTERM, within its grace period."""
    for role in ("consumer", "api", "maintain"):
        started = time.monotonic()
        project.compose("stop", role)
        codes = [each["State"]["ExitCode"] for each in project.containers(role)]
        _ensure(codes and set(codes) == {0}, f"{role} exited with {codes} on SIGTERM")
        project.report(f"{role} ended on SIGTERM after {time.monotonic() - started:.1f} s with exit code 0")


def interrupted_migration(project: Project) -> None:
    """A one-shot command, which is the first process of its container, ends on SIGTERM while it waits for its server."""
    project.compose("stop", "postgres", "kafka")
    codes = [each["State"]["ExitCode"] for name in ("postgres", "kafka") for each in project.containers(name)]
    _ensure(KILLED not in codes, f"PostgreSQL and Kafka ended with {codes}")
    name = project.compose("run", "--detach", "--no-deps", "operator", "python", "-m", "sql", "migrate").split()[-1]
    _until(lambda: "\n" in project.docker.logs(name), "the migration waits for its server")
    project.docker("stop", "--time", "20", name)
    code = int(project.docker("inspect", "--format", "{{.State.ExitCode}}", name))
    _ensure(code == INTERRUPTED, f"python -m sql migrate ended with {code} on SIGTERM")
    project.docker("rm", name)
    project.report(f"a migration that waits ended on SIGTERM with exit code {INTERRUPTED}")


def _is_up(project: Project, service: str) -> bool:
    """Whether the containers of a service are healthy, or have exited with success if they run only once.

    Raises:
        AssertionError: one that runs once has failed.
    """
    containers = project.containers(service)
    if project.config["services"][service].get("restart") != "no":
        return bool(containers) and all(
            each["State"].get("Health", {}).get("Status") == "healthy" for each in containers
        )
    codes = [each["State"]["ExitCode"] for each in containers if each["State"]["Status"] == "exited"]
    _ensure(not any(codes), f"{service} exited with {codes}")
    return len(codes) == len(containers) > 0


def _http(address: str, body: dict[str, Any] | None = None) -> Any:
    """The JSON of an answer. POSTs the body if there is one."""
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})  # noqa: S310 - http alone
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return json.load(answer)


def _until(condition: Callable[[], bool], what: str) -> None:
    """Waits for a condition. Errors of commands and of HTTP mean that it does not hold yet."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    last: Exception | None = None
    while True:
        try:
            if condition():
                return
        except (CommandError, OSError, urllib.error.HTTPError, KeyError) as error:
            last = error
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"not within {TIMEOUT_SECONDS:.0f} s: {what}" + (f" (last error: {last})" if last else "")
            )
        time.sleep(0.5)


def _ensure(holds: object, problem: str) -> None:
    if not holds:
        raise AssertionError(problem)
