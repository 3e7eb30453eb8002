"""A lock file -> its jars on this machine, each with the checksum that the lock file names."""

import fcntl
import hashlib
import tomllib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

Say = Callable[[str], None]
LOCK: Final = Path(__file__).with_name("jgo.lock.toml")
CACHE: Final = Path(__file__).parents[2] / ".stack" / "jars"
TRIES: Final = 3


class JarError(Exception):
    """A jar cannot be had, or is not the one that was locked."""


@dataclass(frozen=True, slots=True)
class Jar:
    """One entry of the lock file, with its names."""

    groupId: str  # noqa: N815
    artifactId: str  # noqa: N815
    version: str
    packaging: str
    sha256: str
    classifier: str = ""


def kafka_jars(say: Say) -> list[Path]:
    """The class path of Kafka; as `locked_jars`."""
    return locked_jars(LOCK, "Kafka", say)


def locked_jars(lock: Path, name: str, say: Say, artifact: str | None = None) -> list[Path]:
    """The class path that a lock file names, or only its jar called `artifact`; downloads what is missing and says how far it is.

    Raises:
        JarError: when a jar cannot be downloaded or its checksum is not the locked one.
    """
    locked = [Jar(**entry) for entry in tomllib.loads(lock.read_text())["dependencies"]]
    locked = [each for each in locked if artifact in (None, each.artifactId)]
    with _alone():
        missing = [each for each in locked if not _path(each).exists()]
        for number, jar in enumerate(missing, 1):
            say(f"{name}: {number} of {len(missing)} jars, {jar.artifactId} {jar.version}")
            _download(jar)
    for jar in locked:
        with _path(jar).open("rb") as content:
            checksum = hashlib.file_digest(content, "sha256").hexdigest()
        if checksum != jar.sha256:
            _path(jar).unlink()
            raise JarError(
                f"{_path(jar).name} is not the file that was locked; it was removed, start again to fetch it anew"
            )
    return [_path(jar) for jar in locked]


@contextmanager
def _alone() -> Iterator[None]:
    """One run downloads, another waits for it and finds the jars there."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with CACHE.with_name("jars.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _path(jar: Jar) -> Path:
    name = "-".join(filter(None, (jar.artifactId, jar.version, jar.classifier)))
    return CACHE.joinpath(*jar.groupId.split("."), jar.artifactId, jar.version, f"{name}.{jar.packaging}")


def _download(jar: Jar) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one of its libraries warns at import of a directory that we do not use
        from jgo.maven import MavenContext  # noqa: PLC0415 - only for what is missing: it takes a second
    context = MavenContext(repo_cache=CACHE, timeout=30)
    component = context.project(jar.groupId, jar.artifactId).at_version(jar.version)
    for attempt in range(1, TRIES + 1):
        try:
            component.artifact(jar.classifier, jar.packaging).resolve()
        except Exception as error:
            _path(jar).unlink(missing_ok=True)
            if attempt == TRIES:
                raise JarError(f"{jar.artifactId} {jar.version} cannot be downloaded: {error}") from error
        else:
            return
