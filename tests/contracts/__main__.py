"""`python -m tests.contracts`: write the documents; with `release`, keep them as those of this version as well."""

import json
import sys
from pathlib import Path
from typing import Any

from schemas.config.version import VERSION
from tests.contracts import asyncapi, openapi

ROOT = Path(__file__).parents[2]
RELEASED = ROOT / "schemas" / "released"


def text(document: dict[str, Any]) -> str:
    """A document as it is committed."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def documents() -> dict[str, dict[str, Any]]:
    """File name: document."""
    return {"openapi.json": openapi.document(), "asyncapi.json": asyncapi.document()}


def main(released: Path = RELEASED) -> None:
    """Write them below docs/, and below schemas/released/ when asked to: once a version, for others rely on what is there."""
    folders = [ROOT / "docs"]
    if "release" in sys.argv[1:]:
        if (released / VERSION).exists():
            sys.exit(
                f"{VERSION} is released already, and stays as it is: set the next version first (docs/contracts.md)"
            )
        folders.append(released / VERSION)
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        for name, document in documents().items():
            (folder / name).write_text(text(document))
            sys.stderr.write(f"written: {folder.name}/{name}\n")


if __name__ == "__main__":
    main()
