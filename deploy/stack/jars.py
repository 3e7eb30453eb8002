"""Downloads of the jars that a lock file names, verified by the checksums in it."""

import fcntl
import hashlib
import tomllib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

Report = Callable[[str], None]
LOCK: Final = Path(__file__).with_name("jgo.lock.toml")
CACHE: Final = Path(__file__).parents[2] / ".stack" / "jars"
ATTEMPTS: Final = 3


class JarError(Exception):
    """A jar cannot be downloaded, or is not the file that was locked."""


@dataclass(frozen=True, slots=True)
class Jar:
    """An entry of the lock file; the fields have the file's names."""

    groupId: str  # noqa: N815
    artifactId: str  # noqa: N815
    version: str
    packaging: str
    sha256: str
    classifier: str = ""


def kafka_jars(report: Report) -> list[Path]:
    """The class path of Kafka. Raises like `locked_jars`."""
    return locked_jars(LOCK, "Kafka", report)


def locked_jars(lock: Path, name: str, report: Report, artifact: str | None = None) -> list[Path]:
    """The class path that a lock file describes, or only its jar `artifact`. Missing jars are downloaded, which is reported once.

    Raises:
        JarError: a jar cannot be downloaded, or its checksum is not the locked one.
    """
    locked = [Jar(**entry) for entry in tomllib.loads(lock.read_text())["dependencies"]]
    locked = [each for each in locked if artifact in (None, each.artifactId)]
    with _download_lock():
        missing = [each for each in locked if not _path(each).exists()]
        if missing:
            report(f"downloading {name}: {len(missing)} {'jar' if len(missing) == 1 else 'jars'} (once) ...")
        for jar in missing:
            _download(jar)
    for jar in locked:
        _verify(jar)
    return [_path(jar) for jar in locked]


@contextmanager
def _download_lock() -> Iterator[None]:
    """Lets one run download while others wait for it and then find the jars in the cache."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with CACHE.with_name("jars.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _path(jar: Jar) -> Path:
    name = "-".join(filter(None, (jar.artifactId, jar.version, jar.classifier)))
    return CACHE.joinpath(*jar.groupId.split("."), jar.artifactId, jar.version, f"{name}.{jar.packaging}")


def _verify(jar: Jar) -> None:
    with _path(jar).open("rb") as content:
        checksum = hashlib.file_digest(content, "sha256").hexdigest()
    if checksum != jar.sha256:
        _path(jar).unlink()
        raise JarError(f"{_path(jar).name} is not the locked file and was removed; start again to download it")


def _download(jar: Jar) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a library of jgo warns at import about a directory that is not used here
        from jgo.maven import MavenContext  # noqa: PLC0415 - takes a second, and is needed only for missing jars
    context = MavenContext(repo_cache=CACHE, timeout=30)
    component = context.project(jar.groupId, jar.artifactId).at_version(jar.version)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            component.artifact(jar.classifier, jar.packaging).resolve()
        except Exception as error:
            _path(jar).unlink(missing_ok=True)
            if attempt == ATTEMPTS:
                raise JarError(f"{jar.artifactId} {jar.version} cannot be downloaded: {error}") from error
        else:
            return
