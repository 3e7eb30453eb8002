"""The programs of a cluster, built from Go modules: once, into a cache outside of the repository."""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from deploy.stack.processes import Processes, end_of

Report = Callable[[str], None]
KUBERNETES: Final = "1.37.2"
HELM: Final = "4.3.2"
KWOK: Final = "0.8.0"
KEDA: Final = "2.21.0"
CACHE: Final = (
    Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "energy-ingestion-engine" / "kubernetes"
)
REPORT_EVERY_SECONDS: Final = 15.0


class BuildError(Exception):
    """A program cannot be built; the message has the end of the log."""


@dataclass(frozen=True, slots=True)
class Program:
    """A Go program: the package, and the module and version that determine the versions of everything it imports."""

    name: str
    package: str
    module: str
    version: str

    @property
    def path(self) -> Path:
        """Where the built program is kept."""
        return CACHE / f"{self.name}-{self.version}"


PROGRAMS: Final = (
    Program("helm", "helm.sh/helm/v4/cmd/helm", "helm.sh/helm/v4", HELM),
    Program("etcd", "go.etcd.io/etcd/server/v3", "k8s.io/kubernetes", KUBERNETES),
    *(
        Program(name, f"k8s.io/kubernetes/cmd/{name}", "k8s.io/kubernetes", KUBERNETES)
        for name in ("kubectl", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
    ),
    Program("kwok", "sigs.k8s.io/kwok/cmd/kwok", "sigs.k8s.io/kwok", KWOK),
)


def build_missing(processes: Processes, report: Report) -> dict[str, Path]:
    """The paths of all programs by name. Builds those that the cache does not have.

    Raises:
        BuildError: Go is missing, or a module cannot be downloaded or compiled.
    """
    missing = [each for each in PROGRAMS if not each.path.exists()]
    if missing and shutil.which("go") is None:
        raise BuildError("Go is missing, which builds Kubernetes: https://go.dev/dl")
    if missing:
        CACHE.mkdir(parents=True, exist_ok=True)
        report(
            f"building {', '.join(each.name for each in missing)} (once, about ten minutes on two cores) into {CACHE}"
        )
    for each in missing:
        _build(each, processes, report)
    return {each.name: each.path for each in PROGRAMS}


def downloaded(module: str, version: str) -> dict[str, Any]:
    """What `go mod download -json` says about a module: `Dir`, `GoMod` and others. Raises BuildError."""
    done = subprocess.run(
        ["go", "mod", "download", "-json", f"{module}@v{version}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=CACHE,
    )
    if done.returncode:
        raise BuildError(f"{module} v{version} cannot be downloaded: {done.stdout}{done.stderr}")
    described: dict[str, Any] = json.loads(done.stdout)
    return described


def _build(program: Program, processes: Processes, report: Report) -> None:
    directory = CACHE / f"module-{program.name}"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    (directory / "go.mod").write_text(_module_file(program))
    environment = {**os.environ, "GOFLAGS": "-mod=mod -buildvcs=false -trimpath", "GOWORK": "off"}
    log, built = directory / "build.log", directory / program.name
    started = time.monotonic()
    report(f"{program.name}: downloading the modules")
    listed = subprocess.run(
        ["go", "list", "-deps", program.package],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    flags = f"-s -w -X k8s.io/component-base/version.gitVersion=v{program.version}"
    child = processes.start(
        ["go", "build", "-v", "-ldflags", flags, "-o", built, program.package], log=log, env=environment, cwd=directory
    )
    _wait(child, log, len(listed.stdout.split()), lambda text: report(f"{program.name}: {text}"))
    if child.wait():
        raise BuildError(f"{program.name} {program.version} cannot be built: {listed.stderr}{end_of(log)}")
    built.replace(program.path)
    shutil.rmtree(directory)
    report(f"{program.name} {program.version} was built in {time.monotonic() - started:.0f} s")


def _module_file(program: Program) -> str:
    """A module that requires the program's. Kubernetes replaces some modules by directories that its own module lacks: the
    released modules of the same version take their place."""
    described = Path(downloaded(program.module, program.version)["GoMod"]).read_text()
    language = re.search(r"^go \S+$", described, re.MULTILINE)
    text = f"module tools\n\n{language[0] if language else ''}\n\nrequire {program.module} v{program.version}\n"
    staged = re.findall(r"^\s*(\S+) => \./staging/\S+$", described, re.MULTILINE)
    if staged:
        released = program.version.replace("1.", "v0.", 1)
        text += "".join(f"replace {module} => {module} {released}\n" for module in staged)
    return text


def _wait(child: psutil.Popen, log: Path, packages: int, report: Report) -> None:
    """Waits for a build and reports its progress: go prints a line for each package that it compiles."""
    reported = time.monotonic()
    while child.poll() is None:
        time.sleep(0.2)
        if time.monotonic() - reported >= REPORT_EVERY_SECONDS:
            reported = time.monotonic()
            compiled = len(log.read_text(errors="replace").splitlines())
            report(f"{compiled} of at most {packages} packages compiled")
