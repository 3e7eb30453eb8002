"""`python -m tests.contracts` writes both documents and the schemas of records; with the word `release`, it also keeps them as
those of this version."""

import json
import sys
from pathlib import Path
from typing import Any

from schemas.config.version import VERSION
from tests.contracts import asyncapi, openapi
from tests.contracts.record_schemas import record_schemas
from tests.support.repository import ROOT

RELEASED = ROOT / "schemas" / "released"


def text(document: dict[str, Any]) -> str:
    """A document as the text of its file."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def documents() -> dict[str, dict[str, Any]]:
    """The documents by file name."""
    return {"openapi.json": openapi.document(), "asyncapi.json": asyncapi.document()}


def main(released: Path = RELEASED) -> None:
    """Writes them to docs/, and with `release` to schemas/released/ too: once per version, because others rely on those files."""
    folders = [ROOT / "docs"]
    if "release" in sys.argv[1:]:
        if (released / VERSION).exists():
            sys.exit(
                f"{VERSION} is released already and must not change: set the next version first (docs/contracts.md)"
            )
        folders.append(released / VERSION)
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        for name, document in documents().items():
            (folder / name).write_text(text(document))
            sys.stderr.write(f"written: {folder.name}/{name}\n")
        (folder / "schemas").mkdir(exist_ok=True)
        for name, schema in record_schemas().items():
            (folder / "schemas" / name).write_text(schema)
            sys.stderr.write(f"written: {folder.name}/schemas/{name}\n")


if __name__ == "__main__":
    main()
