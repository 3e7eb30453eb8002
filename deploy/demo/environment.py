"""A shell environment for running the documented commands against the demo."""

import shlex
import sys
from pathlib import Path
from typing import Final

from deploy.stack.servers import Servers

NAME: Final = "environment"


def write_environment(stack: Servers) -> Path:
    """Writes a file to `source`: the servers' addresses for the schema's owner, and this Python first on the PATH.

    The file contains a password and only its owner can read it.
    """
    settings = {"KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap_servers, "DATABASE_URL": stack.database_url}
    lines = [f"export {name}={shlex.quote(value)}" for name, value in settings.items()]
    lines.append(f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"')
    file = stack.directory / NAME
    file.touch(mode=0o600)
    file.write_text("\n".join(lines) + "\n")
    return file
