"""A schema registry over HTTP, written to the API that Confluent has published; its schemas are set by the test."""

import base64
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.protobuf import descriptor_pb2

from consumer.formats.registry import RegisteredSchema
from deploy.stack.ports import free_port
from tests.support.formats.encoding import NAMES, own_schema


class RegistryServer:
    """Schemas by id and GUID, and versions of subjects. `start` and `stop` may alternate; the port stays.

    Attributes:
        schemas: by id or GUID, without their references.
        subjects: the ids of a subject's versions, the first of which is version 1.
        extra: further fields of the answer for an id, such as references.
        broken: a status that every question is answered with instead.
    """

    def __init__(self, credentials: tuple[str, str] | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.schemas: dict[int | str, RegisteredSchema] = {}
        self.subjects: dict[str, list[int]] = {}
        self.extra: dict[int, dict[str, Any]] = {}
        self.broken: HTTPStatus | None = None
        self.questions: list[str] = []
        self._port = free_port()
        self._tls = tls
        self._expected = credentials and "Basic " + base64.b64encode(":".join(credentials).encode()).decode()
        self._server: ThreadingHTTPServer | None = None
        self.url = f"{'https' if tls else 'http'}://localhost:{self._port}"

    def start(self) -> None:
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._respond(*registry.answer(self.path, self.headers.get("Authorization")))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self._respond(HTTPStatus.OK, registry.register(self.path.split("/")[2], body))

            def _respond(self, status: HTTPStatus, answer: dict[str, Any]) -> None:
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                """Print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._server.daemon_threads = True
        if self._tls:
            self._server.socket = self._tls.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Close the port."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def answer(self, path: str, authorization: str | None) -> tuple[HTTPStatus, dict[str, Any]]:
        self.questions.append(path)
        if self.broken:
            return self.broken, {"error_code": 50001, "message": "Error in the backend data store"}
        if authorization != self._expected:
            return HTTPStatus.UNAUTHORIZED, {"error_code": 401, "message": "Unauthorized"}
        match path.strip("/").split("/"):
            case ["schemas", "ids", number] if int(number) in self.schemas:
                return HTTPStatus.OK, self._described(int(number))
            case ["schemas", "guids", guid] if guid in self.schemas:
                return HTTPStatus.OK, self._described(guid)
            case ["subjects", subject, "versions", version] if subject in self.subjects:
                ids = self.subjects[subject]
                found = ids[-1] if version == "latest" else ids[int(version) - 1]
                return HTTPStatus.OK, {"subject": subject, "id": found, **self._described(found)}
        return HTTPStatus.NOT_FOUND, {"error_code": 40403, "message": "Schema not found"}

    def register(self, subject: str, body: dict[str, Any]) -> dict[str, Any]:
        """The answer to a registration: the newest schema of the subject; without one, what was sent becomes that."""
        if subject not in self.subjects:
            number = len(self.subjects) + 1
            self.schemas[number] = _as_text(RegisteredSchema(body.get("schemaType", "AVRO"), body["schema"]))
            self.subjects[subject] = [number]
        number = self.subjects[subject][-1]
        return {"id": number, **self._described(number)}

    def _described(self, key: int | str) -> dict[str, Any]:
        schema = self.schemas[key]
        described = {"schema": schema.text} | ({} if schema.type == "AVRO" else {"schemaType": schema.type})
        return described | (self.extra.get(key, {}) if isinstance(key, int) else {})


def _as_text(schema: RegisteredSchema) -> RegisteredSchema:
    """A schema as readers get it: a registry writes the text of a descriptor; this one has the texts of our own messages."""
    if schema.type != "PROTOBUF":
        return schema
    descriptor = descriptor_pb2.FileDescriptorProto.FromString(base64.b64decode(schema.text))
    (message,) = descriptor.message_type
    struct = next(each for each in NAMES if each.__name__ == message.name)
    return own_schema("protobuf", struct)


@contextmanager
def schema_registry(
    credentials: tuple[str, str] | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[RegistryServer]:
    """A registry that listens until the block ends."""
    server = RegistryServer(credentials, tls)
    server.start()
    try:
        yield server
    finally:
        server.stop()
