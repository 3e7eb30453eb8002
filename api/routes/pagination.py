"""Opaque cursors for pagination: `next` of a page is the query parameter `after` of the following one."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TypeVar

import msgspec

from api.problems import invalid_parameter

Cursor = TypeVar("Cursor", bound=msgspec.Struct)


def encode_cursor(cursor: msgspec.Struct) -> str:
    return urlsafe_b64encode(msgspec.json.encode(cursor)).rstrip(b"=").decode()


def decode_cursor(after: str | None, cursor_type: type[Cursor]) -> Cursor | None:
    """The cursor of the previous page; None on the first page.

    Raises:
        RequestValidationError: the text is not a cursor of this type.
    """
    if not after:
        return None
    try:
        return msgspec.json.decode(urlsafe_b64decode(after + "=" * (-len(after) % 4)), type=cursor_type)
    except ValueError:
        raise invalid_parameter("after", "this is not the `next` of a previous page of the same query") from None
