"""The CycloneDX document of the image."""

import json
import re

from deploy.sbom import document
from tests.support.repository import ROOT


def test_every_locked_package_is_in_the_document_with_its_checksums() -> None:
    lock = (ROOT / "requirements-api.lock").read_text()
    made = json.loads(document(lock))
    assert (made["bomFormat"], made["specVersion"]) == ("CycloneDX", "1.6")
    locked = dict(re.findall(r"^([a-z0-9._-]+)==([^ ;]+)", lock, re.MULTILINE))
    assert {each["name"]: each["version"] for each in made["components"]} == locked
    assert {each["purl"] for each in made["components"]} == {f"pkg:pypi/{name}@{locked[name]}" for name in locked}
    checksums = {each["content"] for component in made["components"] for each in component["hashes"]}
    assert checksums == set(re.findall(r"sha256:([0-9a-f]{64})", lock))
