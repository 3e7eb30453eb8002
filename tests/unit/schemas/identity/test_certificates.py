"""Client certificates that are replaced while a process runs."""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from schemas.config.settings import KafkaSettings
from tests.tls.certificates import Certificates, create_certificates


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return create_certificates(tmp_path)


@pytest.mark.parametrize("loop", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def test_a_new_connection_presents_the_certificate_that_the_files_have_now(
    certificates: Certificates, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    certificate, key = certificates.client("consumer")
    settings = KafkaSettings(
        kafka_security_protocol="SSL",
        kafka_ssl_cafile=certificates.authority,
        kafka_ssl_certfile=certificate,
        kafka_ssl_keyfile=key,
    )
    context = settings.client_options()["ssl_context"]

    async def body() -> None:
        serials: asyncio.Queue[str] = asyncio.Queue()

        async def accept(reader: Any, writer: asyncio.StreamWriter) -> None:
            await serials.put(writer.get_extra_info("peercert")["serialNumber"])
            writer.close()

        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates.authority)
        server.load_cert_chain(certificates.certificate, certificates.key)
        server.verify_mode = ssl.CERT_REQUIRED
        async with await asyncio.start_server(accept, "127.0.0.1", 0, ssl=server) as listening:
            port = listening.sockets[0].getsockname()[1]
            seen = []
            for _ in range(2):
                _, writer = await asyncio.open_connection("localhost", port, ssl=context)
                seen.append(await serials.get())
                writer.close()
                await writer.wait_closed()
                certificates.client("consumer")
            assert len(set(seen)) == 2

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(body())


def test_files_that_are_being_replaced_fail_one_connection(certificates: Certificates) -> None:
    certificate, key = certificates.client("consumer")
    settings = KafkaSettings(kafka_security_protocol="SSL", kafka_ssl_certfile=certificate, kafka_ssl_keyfile=key)
    context = settings.client_options()["ssl_context"]
    certificate.write_text("half a file")
    with pytest.raises(ssl.SSLError):
        context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="localhost")
    certificates.client("consumer")
    assert context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="localhost")
