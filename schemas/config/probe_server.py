"""HTTP server for metrics and probes, on a thread of its own: it responds even while the event loop is blocked."""

import socket
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

WsgiApplication = Callable[[dict[str, Any], Any], Iterable[bytes]]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _ServerIPv6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    server_version = "energy"
    sys_version = ""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named by the base class
        """Requests are not logged: a probe arrives every few seconds."""


def start_probe_server(application: WsgiApplication, host: str, port: int | None, *, default_port: int) -> WSGIServer:
    """Start serving; `server_port` of the result is the port in use.

    Args:
        application: the WSGI application.
        host: name or address, IPv4 or IPv6.
        port: 0 takes any free port; None takes `default_port`, or any free port when that one is in use.
        default_port: for `port=None`.

    Raises:
        OSError: the given port is in use, or the host is not an address of this machine.
    """
    try:
        server = _bind(application, host, default_port if port is None else port)
    except OSError:
        if port is not None:
            raise
        server = _bind(application, host, 0)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server


def _bind(application: WsgiApplication, host: str, port: int) -> WSGIServer:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)  # IPv4 where a name has both
    server_class = _ServerIPv6 if family == socket.AF_INET6 else _Server
    return make_server(str(address[0]), port, application, server_class, _Handler)
