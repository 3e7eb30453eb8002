"""Clients of HTTP services on this machine; responses of the read service, checked and unpacked."""

from collections.abc import Callable
from typing import Any

import httpx

StartApi = Callable[
    ..., httpx.Client
]  # the fixture `start_api`: starts the read service with some settings, returns a client


def http_client(address: str = "") -> httpx.AsyncClient:
    """A client for plain HTTP. It loads no certificates, which would take 30 ms of processor time at each poll of a test."""
    return httpx.AsyncClient(base_url=address, timeout=20, verify=False)


def body(response: httpx.Response) -> Any:
    """The JSON body of a response, whose status must be 200."""
    assert response.status_code == 200, response.text
    return response.json()


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    """The problem details of a response, which must have this status and the form of RFC 9457."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    details: dict[str, Any] = response.json()
    assert details["status"] == status
    assert details["title"]
    assert details["detail"]
    return details


def pages(client: httpx.Client, path: str, **parameters: Any) -> list[list[Any]]:
    """The items of every page, page by page, following `next` until the last one."""
    items, after = [], None
    while True:
        page = body(client.get(path, params=parameters | ({"after": after} if after else {})))
        items.append(page["items"])
        after = page["next"]
        if after is None:
            return items
