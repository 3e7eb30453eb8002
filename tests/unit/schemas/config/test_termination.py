"""Commands that do one thing end on SIGTERM by a handler: as process 1 of a container, the kernel's default action is off."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from tests.support.repository import ROOT


@pytest.mark.parametrize(
    ("command", "code"),
    [("sql migrate", 130), ("sql maintain --once", 130), ("consumer offsets show", 130), ("sql doctor", 3)],
)
def test_a_command_that_waits_for_its_server_ends_on_sigterm(command: str, code: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        port = silent.getsockname()[1]
        servers = {
            "DATABASE_URL": f"postgresql://energy@127.0.0.1:{port}/energy",
            "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{port}",
        }
        process = subprocess.Popen(
            [sys.executable, "-m", *command.split()], cwd=ROOT, env=os.environ | servers, stderr=subprocess.DEVNULL
        )
        try:
            connection, _ = silent.accept()
            with connection:
                process.send_signal(signal.SIGTERM)
                assert process.wait(30) == code  # the default action would be -15
        finally:
            process.kill()
