"""The version of this engine and of its contracts; pyproject.toml says the same, which a test compares."""

from typing import Final

VERSION: Final = "0.1.0"
