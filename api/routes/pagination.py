"""Opaque cursors: the place where a page ended -> text for `after` -> the place where the next one begins."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TypeVar

import msgspec

from api.problems import invalid_parameter

Place = TypeVar("Place", bound=msgspec.Struct)


def cursor(place: msgspec.Struct) -> str:
    """The text that stands for a place."""
    return urlsafe_b64encode(msgspec.json.encode(place)).rstrip(b"=").decode()


def place(after: str | None, kind: type[Place]) -> Place | None:
    """The place that a text stands for; None for none.

    Raises:
        RequestValidationError: when it is no cursor for a place of this kind.
    """
    if not after:
        return None
    try:
        return msgspec.json.decode(urlsafe_b64decode(after + "=" * (-len(after) % 4)), type=kind)
    except ValueError:
        raise invalid_parameter(
            "after", "this is not what `next` of the page before has said for the same question"
        ) from None
