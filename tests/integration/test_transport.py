"""PostgreSQL over TLS, its certificate and its name verified: who may connect, and what is said to who may not."""

import asyncio
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import asyncpg
import pytest
import trustme

from deploy.stack.postgres import ACCOUNT, Postgres
from deploy.stack.processes import Processes
from tests.services import ROOT

pytestmark = pytest.mark.anyio
SECRET = "Tr0mbone-quarry"


@dataclass(frozen=True, slots=True)
class Encrypted:
    """A server that takes nobody without TLS, and the authority that signed its certificate."""

    postgres: Postgres
    authority: Path
    stranger: Path

    def url(self, login: str = "migrator", *, mode: str = "verify-full", authority: Path | None = None) -> str:
        """The server by its name `localhost`, or as asked."""
        where = urlencode({"sslmode": mode, "sslrootcert": str(authority or self.authority)})
        return f"{self.postgres.url(login).replace('127.0.0.1', 'localhost')}?{where}"


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Encrypted]:
    directory = tmp_path_factory.mktemp("tls")
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    stranger.cert_pem.write_to_path(str(directory / "stranger.pem"))
    with ExitStack() as exits:
        processes = exits.enter_context(Processes())
        postgres = Postgres(processes, directory / "postgres", None)
        postgres.start()
        asyncio.run(_encrypt(postgres, authority))
        yield Encrypted(postgres, directory / "ca.pem", directory / "stranger.pem")


async def _encrypt(postgres: Postgres, authority: trustme.CA) -> None:
    connection = await asyncpg.connect(postgres.url("postgres", "postgres"))
    try:
        data = Path(await connection.fetchval("SHOW data_directory"))
        certificate = authority.issue_cert("localhost")
        certificate.cert_chain_pems[0].write_to_path(str(data / "server.crt"))
        certificate.private_key_pem.write_to_path(str(data / "server.key"))
        (data / "server.key").chmod(0o600)
        if os.geteuid() == 0:
            for file in ("server.crt", "server.key"):
                shutil.chown(data / file, ACCOUNT, ACCOUNT)
        (data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")
        await connection.execute("ALTER SYSTEM SET ssl = on")
        await connection.execute("SELECT pg_reload_conf()")
    finally:
        await connection.close()


async def _migrate(url: str) -> tuple[int, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DATABASE_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sql", "migrate", env=environment | {"DATABASE_URL": url, "LOG_LEVEL": "DEBUG"}, cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        output, _ = await asyncio.wait_for(process.communicate(), 60)
    except TimeoutError:
        process.kill()
        raise
    return process.returncode or 0, output.decode()


async def test_the_schema_is_made_and_used_over_verified_tls(encrypted: Encrypted) -> None:
    code, output = await _migrate(encrypted.url())
    assert code == 0, output
    for login in ("migrator", "writer", "reader"):
        connection = await asyncpg.connect(encrypted.url(login))
        try:
            assert await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        finally:
            await connection.close()


async def test_plaintext_is_refused(encrypted: Encrypted) -> None:
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError, match="no encryption"):
        await asyncpg.connect(encrypted.url(mode="disable"))


async def test_another_authority_is_refused(encrypted: Encrypted) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer|self-signed|verify failed"):
        await asyncpg.connect(encrypted.url(authority=encrypted.stranger))


async def test_another_name_is_refused(encrypted: Encrypted) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="127.0.0.1"):
        await asyncpg.connect(encrypted.url().replace("localhost", "127.0.0.1"))


async def test_a_wrong_password_is_not_repeated(encrypted: Encrypted) -> None:
    right = encrypted.url()
    start, end = right.index("migrator:") + len("migrator:"), right.index("@")
    code, output = await _migrate(right[:start] + SECRET + right[end:])
    assert code == 1, output
    assert "password authentication failed" in output
    assert SECRET not in output
