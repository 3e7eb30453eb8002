"""The command of `make sbom`: the packages of the image as a CycloneDX document, from the lock file that it is built from."""

import re
import sys
from pathlib import Path
from typing import Final

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

ROOT: Final = Path(__file__).parents[1]
PACKAGE: Final = re.compile(
    r"^(?P<name>[a-z0-9._-]+)==(?P<version>[^ ;\\]+)(?P<rest>.*(?:\n    --hash.*)*)", re.MULTILINE
)
SHA256: Final = re.compile(r"sha256:([0-9a-f]{64})")


def document(lock: str) -> str:
    """A CycloneDX 1.6 document in JSON. A package has the checksums of all its files, of which one is installed."""
    pyproject = (ROOT / "pyproject.toml").read_text()
    version = re.search(r'^version = "(.*)"$', pyproject, re.MULTILINE)
    engine = Component(
        name="energy-ingestion-engine", version=version[1] if version else None, type=ComponentType.APPLICATION
    )
    bom = Bom(components=[_component(each) for each in PACKAGE.finditer(lock)])
    bom.metadata.component = engine
    bom.register_dependency(engine, bom.components)
    return JsonV1Dot6(bom).output_as_string(indent=2)


def _component(package: "re.Match[str]") -> Component:
    return Component(
        name=package["name"],
        version=package["version"],
        type=ComponentType.LIBRARY,
        purl=PackageURL("pypi", name=package["name"], version=package["version"]),
        bom_ref=f"{package['name']}=={package['version']}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=each) for each in SHA256.findall(package["rest"])],
    )


def main() -> None:
    if len(sys.argv) > 2:  # noqa: PLR2004
        sys.exit("usage: python -m deploy.sbom [LOCK]")
    lock = Path(sys.argv[1]) if sys.argv[1:] else ROOT / "requirements-api.lock"
    sys.stdout.write(document(lock.read_text()) + "\n")


if __name__ == "__main__":
    main()
