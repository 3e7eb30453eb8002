"""API keys: their format, what is stored of them, and how a key that was sent is verified.

A key is `energy_<id>_<secret>`. The id names the key in the file and in logs; the secret is 256 random bits. The SHA-256 of the
whole key is stored. A slow hash (argon2, scrypt) protects secrets that can be guessed, such as passwords. 256 random bits cannot
be guessed at any speed, and a hash that takes 100 ms would let anyone exhaust the service with wrong keys.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final, Literal

import msgspec

from schemas.records.readings import ID_RULE, valid_id

KEY_PATTERN: Final = re.compile(rb"energy_([a-z0-9]{12})_[A-Za-z0-9_-]{43}")
MAX_KEY_BYTES: Final = 63
_SYMBOLS: Final = "abcdefghijklmnopqrstuvwxyz0123456789"
_NO_KEY_HASH: Final = hashlib.sha256(b"").hexdigest()  # of no key that matches KEY_PATTERN


class Scope(StrEnum):
    """What a key permits: to read everything, or to send readings."""

    READ = "read"
    INGEST = "ingest"


class InvalidKeys(Exception):  # noqa: N818 - named after what is invalid, as InvalidReading is
    """A key, or a file of keys, cannot be used; the message says why and what to do."""


class Key(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is stored of a key. `devices`: prefixes of the device ids whose readings it may send; null: of any device."""

    id: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]{12}$")]
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
    scopes: Annotated[tuple[Scope, ...], msgspec.Meta(min_length=1)]
    devices: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] | None = None
    created: Annotated[datetime, msgspec.Meta(tz=True)]
    expires: Annotated[datetime, msgspec.Meta(tz=True)] | None = None

    def __post_init__(self) -> None:
        if self.devices is None:
            return
        if Scope.INGEST not in self.scopes:
            raise ValueError("devices limit which readings a key may send and have no meaning without the scope ingest")
        for prefix in self.devices:
            if not valid_id(prefix):
                raise ValueError(f"{prefix!r} is not a prefix of any device id: an id is {ID_RULE}")

    def expired(self, now: datetime) -> bool:
        return self.expires is not None and now >= self.expires


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: Literal[1]
    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class ApiKeys:
    by_id: Mapping[str, Key]

    def find(self, sent: bytes) -> Key | None:
        """The stored key that `sent` matches, even if it has expired; None without a match.

        An unknown id takes the same steps as a wrong secret, so timing does not tell them apart.
        """
        match = KEY_PATTERN.fullmatch(sent)
        if match is None:
            return None
        key = self.by_id.get(match[1].decode())
        same = hmac.compare_digest(hashlib.sha256(sent).hexdigest(), key.sha256 if key else _NO_KEY_HASH)
        return key if same else None


NO_KEYS: Final = ApiKeys({})


def new_key(
    name: str,
    scopes: Iterable[Scope],
    *,
    created: datetime,
    devices: Iterable[str] | None = None,
    expires: datetime | None = None,
) -> tuple[str, Key]:
    """Generates a key: the secret, which is not stored anywhere, and what is stored of it.

    Raises:
        InvalidKeys: the name, the scopes or the devices are not valid.
    """
    key_id = "".join(secrets.choice(_SYMBOLS) for _ in range(12))
    secret = f"energy_{key_id}_{secrets.token_urlsafe(32)}"
    stored = {
        "id": key_id,
        "name": name,
        "sha256": hashlib.sha256(secret.encode()).hexdigest(),
        "scopes": tuple(dict.fromkeys(scopes)),
        "devices": tuple(dict.fromkeys(devices)) if devices is not None else None,
        "created": created,
        "expires": expires,
    }
    try:
        return secret, msgspec.convert(stored, Key)
    except msgspec.ValidationError as error:
        raise InvalidKeys(str(error)) from None


def parse(content: bytes) -> ApiKeys:
    """Parses the content of a key file.

    Raises:
        InvalidKeys: the content is not valid; the message says where.
    """
    try:
        listed = msgspec.json.decode(content, type=_File).keys
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidKeys(f"is not a key file: {error}") from None
    by_id = {key.id: key for key in listed}
    if len(by_id) < len(listed):
        raise InvalidKeys("has two keys with the same id; remove one of them")
    return ApiKeys(by_id)


def dump(keys: ApiKeys) -> bytes:
    """The content of a key file: indented JSON."""
    listed = sorted(keys.by_id.values(), key=lambda key: (key.created, key.id))
    return msgspec.json.format(msgspec.json.encode(_File(1, tuple(listed))), indent=2) + b"\n"
