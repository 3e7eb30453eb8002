"""The port of the probe server: a given one, the default, or any free one."""

import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from wsgiref.simple_server import WSGIServer

import pytest

from schemas.config.probe_server import start_probe_server


def application(_: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"alive"]


@contextmanager
def running(port: int | None, default_port: int = 0, host: str = "127.0.0.1") -> Iterator[WSGIServer]:
    server = start_probe_server(application, host, port, default_port=default_port)
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def get(server: WSGIServer, host: str = "127.0.0.1") -> bytes:
    with urllib.request.urlopen(f"http://{host}:{server.server_port}/") as response:
        body: bytes = response.read()
    return body


def test_without_a_port_the_default_is_used_and_any_free_one_when_it_is_in_use() -> None:
    with running(0) as first:
        free = first.server_port
    with running(None, free) as second, running(None, free) as third:
        assert second.server_port == free
        assert third.server_port != free
        assert (get(second), get(third)) == (b"alive", b"alive")


def test_a_given_port_that_is_in_use_is_an_error() -> None:
    with running(0) as first, pytest.raises(OSError, match="in use"), running(first.server_port):
        pass


def test_an_ipv6_address_is_accepted() -> None:
    try:
        with running(0, host="::1") as server:
            assert get(server, "[::1]") == b"alive"
    except OSError as error:
        pytest.skip(f"this machine has no IPv6: {error}")
