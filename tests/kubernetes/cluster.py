"""A cluster on this machine: etcd and the control plane of Kubernetes as processes, nodes by kwok. No container runs."""

import asyncio
import secrets
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil

from deploy.stack.ports import free_port
from deploy.stack.processes import Processes
from deploy.stack.readiness import wait_until_ready
from tests.kubernetes.programs import KWOK, Report, downloaded
from tests.tls.certificates import Certificates, create_certificates

NODES: Final = ("node-1", "node-2", "node-3")
# What kwok does with nodes and pods: they become ready at once, and pods of Jobs complete.
STAGES: Final = (
    "node/fast/node-initialize",
    "node/heartbeat-with-lease/node-heartbeat-with-lease",
    "pod/fast/pod-ready",
    "pod/fast/pod-complete",
    "pod/fast/pod-delete",
)
COMMAND_TIMEOUT_SECONDS: Final = 300
# What the clients of the API server need beside its address; {0} are the certificates.
_CLIENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "kube-controller-manager": (
        "--service-account-private-key-file={0.key}",
        "--root-ca-file={0.authority}",
    ),
    "kube-scheduler": (),
}


class CommandError(Exception):
    """kubectl or helm failed; the message has what it printed."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running cluster: its programs, the credentials of an administrator, the address and its authority, a directory."""

    programs: Mapping[str, Path]
    kubeconfig: Path
    server: str
    authority: Path
    directory: Path

    def run(self, program: str, *arguments: str, stdin: str = "") -> str:
        """Runs kubectl or helm and returns what it prints.

        Raises:
            CommandError: it failed.
        """
        described = f"{program} {' '.join(arguments)}"
        try:
            done = subprocess.run(
                [self.programs[program], f"--kubeconfig={self.kubeconfig}", *arguments],
                input=stdin,
                capture_output=True,
                text=True,
                check=False,
                timeout=COMMAND_TIMEOUT_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise CommandError(f"{described} did not end within {COMMAND_TIMEOUT_SECONDS} s") from None
        if done.returncode:
            raise CommandError(f"{described}: {done.stdout}{done.stderr}".strip())
        return done.stdout

    def objects(self, kinds: str, *arguments: str) -> list[dict[str, Any]]:
        """The objects of some kinds in the namespace `energy`."""
        text = self.run("kubectl", "get", kinds, "--namespace=energy", "--output=json", *arguments)
        found: list[dict[str, Any]] = msgspec.json.decode(text)["items"]
        return found


@contextmanager
def running_cluster(
    programs: Mapping[str, Path], processes: Processes, directory: Path, report: Report
) -> Iterator[Cluster]:
    """Starts everything and waits until the nodes are ready. `processes` stops it.

    Raises:
        ProcessEndedError: a process exited.
        TimeoutError: a process did not become ready.
    """
    certificates = create_certificates(directory)
    names = ("etcd", "peers", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
    ports = {name: free_port() for name in names}
    token = secrets.token_hex(16)
    (directory / "tokens.csv").write_text(f"{token},administrator,administrator,system:masters\n")
    server = f"https://localhost:{ports['kube-apiserver']}"
    cluster = Cluster(programs, directory / "kubeconfig", server, certificates.authority, directory)
    cluster.kubeconfig.write_bytes(msgspec.json.encode(_kubeconfig(cluster, token)))

    def start(name: str, *options: str) -> psutil.Popen:
        return processes.start([programs[name], *options], log=directory / f"{name}.log")

    start("etcd", *_etcd(directory, ports))
    _wait_until_ready(start("kube-apiserver", *_apiserver(directory, ports, certificates)), cluster)
    described = msgspec.json.decode(cluster.run("kubectl", "version", "--output=json"))
    report(f"Kubernetes {described['serverVersion']['gitVersion']} answers")
    connected = f"--kubeconfig={cluster.kubeconfig}"
    for name, options in _CLIENTS.items():
        common = ["--leader-elect=false", "--bind-address=127.0.0.1", f"--secure-port={ports[name]}"]
        common += [f"--cert-dir={directory / name}"]
        start(name, connected, *common, *(each.format(certificates) for each in options))
    stages = Path(downloaded("sigs.k8s.io/kwok", KWOK)["Dir"]) / "kustomize" / "stage"
    files = [f"--config={stages / each}.yaml" for each in STAGES]
    start("kwok", connected, "--manage-all-nodes=true", "--node-lease-duration-seconds=40", *files)
    cluster.run("kubectl", "apply", "--filename=-", stdin="---\n".join(map(_node, NODES)))
    cluster.run("kubectl", "wait", "--for=condition=Ready", "node", "--all", "--timeout=120s")
    report(f"{len(NODES)} nodes are ready")
    yield cluster


def _wait_until_ready(child: psutil.Popen, cluster: Cluster) -> None:
    async def probe() -> None:
        await asyncio.to_thread(cluster.run, "kubectl", "get", "--raw=/readyz")

    wait_until_ready("kube-apiserver", child, cluster.directory / "kube-apiserver.log", probe, timeout=180)


def _etcd(directory: Path, ports: Mapping[str, int]) -> list[str]:
    clients, peers = (f"http://127.0.0.1:{ports[name]}" for name in ("etcd", "peers"))
    return [
        f"--data-dir={directory / 'etcd'}",
        "--unsafe-no-fsync",
        f"--listen-client-urls={clients}",
        f"--advertise-client-urls={clients}",
        f"--listen-peer-urls={peers}",
        f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=default={peers}",
    ]


def _apiserver(directory: Path, ports: Mapping[str, int], certificates: Certificates) -> list[str]:
    return [
        f"--etcd-servers=http://127.0.0.1:{ports['etcd']}",
        "--bind-address=127.0.0.1",
        f"--secure-port={ports['kube-apiserver']}",
        f"--tls-cert-file={certificates.certificate}",
        f"--tls-private-key-file={certificates.key}",
        f"--token-auth-file={directory / 'tokens.csv'}",
        "--authorization-mode=Node,RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={certificates.certificate}",
        f"--service-account-signing-key-file={certificates.key}",
        "--service-cluster-ip-range=10.0.0.0/24",
    ]


def _kubeconfig(cluster: Cluster, token: str) -> dict[str, Any]:
    server = {"server": cluster.server, "certificate-authority": str(cluster.authority)}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "local", "cluster": server}],
        "users": [{"name": "administrator", "user": {"token": token}}],
        "contexts": [{"name": "local", "context": {"cluster": "local", "user": "administrator"}}],
        "current-context": "local",
    }


def _node(name: str) -> str:
    size = {"cpu": "8", "memory": "16Gi", "pods": "50"}
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {"allocatable": size, "capacity": size},
    }
    return msgspec.json.encode(node).decode() + "\n"
