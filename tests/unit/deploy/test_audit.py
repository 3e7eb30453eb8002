"""What `make audit` makes of each way in which pip-audit may end."""

import pytest

from deploy.audit import judge

REFUSED = (
    "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='x', port=443): Max retries exceeded with url: /"
)


@pytest.mark.parametrize(
    ("code", "printed", "said", "expected", "word"),
    [
        (0, "", "No known vulnerabilities found", 0, "no known weakness"),
        (1, "starlette 1.0 GHSA-x", "Found 1 known vulnerability in 1 package", 1, "starlette 1.0"),
        (1, "", REFUSED, 0, "Nothing was checked"),
        (1, "", "ModuleNotFoundError: No module named 'pip_audit'", 1, "ModuleNotFoundError"),
        (1, "", "ERROR: hash mismatch", 1, "hash mismatch"),
        (2, "", "usage: pip-audit", 1, "ended with 2"),
        (1, "a 1 GHSA-y", f"Found 1 known vulnerability in 1 package\n{REFUSED}", 1, "a 1"),
    ],
)
def test_only_silence_of_the_service_is_forgiven(code: int, printed: str, said: str, expected: int, word: str) -> None:
    verdict = judge(code, printed, said)
    assert verdict.code == expected
    assert word in verdict.says
