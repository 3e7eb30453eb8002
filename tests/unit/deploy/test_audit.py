"""The verdict of `make audit` for each way in which pip-audit can end."""

import pytest

from deploy.audit import interpret

UNREACHABLE = (
    "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='x', port=443): Max retries exceeded with url: /"
)


@pytest.mark.parametrize(
    ("code", "stdout", "stderr", "expected", "word"),
    [
        (0, "", "No known vulnerabilities found", 0, "no known vulnerability"),
        (1, "starlette 1.0 GHSA-x", "Found 1 known vulnerability in 1 package", 1, "starlette 1.0"),
        (1, "", UNREACHABLE, 0, "Nothing was checked"),
        (1, "", "ModuleNotFoundError: No module named 'pip_audit'", 1, "ModuleNotFoundError"),
        (1, "", "ERROR: hash mismatch", 1, "hash mismatch"),
        (2, "", "usage: pip-audit", 1, "exit code 2"),
        (1, "a 1 GHSA-y", f"Found 1 known vulnerability in 1 package\n{UNREACHABLE}", 1, "a 1"),
    ],
)
def test_only_an_unreachable_service_is_tolerated(
    code: int, stdout: str, stderr: str, expected: int, word: str
) -> None:
    verdict = interpret(code, stdout, stderr)
    assert verdict.code == expected
    assert word in verdict.message
