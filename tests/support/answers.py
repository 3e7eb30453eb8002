"""How tests ask the read service, and what they make of its answers."""

from collections.abc import Callable
from typing import Any

import httpx

Ask = Callable[..., httpx.Client]  # the fixture `ask`: starts the service with some settings, and gives a client for it


def body(answer: httpx.Response) -> Any:
    """What an answer says, after a look at its status."""
    assert answer.status_code == 200, answer.text
    return answer.json()


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The problem details of an answer, after a look at their form."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    said: dict[str, Any] = answer.json()
    assert said["status"] == status
    assert said["title"]
    assert said["detail"]
    return said


def pages(client: httpx.Client, path: str, **parameters: Any) -> list[list[Any]]:
    """The items of all pages, by page."""
    seen, after = [], None
    while True:
        page = body(client.get(path, params=parameters | ({"after": after} if after else {})))
        seen.append(page["items"])
        after = page["next"]
        if after is None:
            return seen
