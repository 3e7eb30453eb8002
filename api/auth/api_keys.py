"""API keys: what they look like, what is kept of them, and whether one that was sent is good.

A key is `energy_<id>_<secret>`: the id names it in the file, in logs and to people, the secret is 256 random bits. Kept is
the SHA-256 of the whole key. A slow hash (argon2, scrypt) makes guesses expensive where secrets can be guessed, as passwords
can. 256 random bits cannot, at any speed; and a hash of a tenth of a second would let anybody exhaust the gateway with wrong
keys.
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

PATTERN: Final = re.compile(rb"energy_([a-z0-9]{12})_[A-Za-z0-9_-]{43}")
LONGEST: Final = 63
_SYMBOLS: Final = "abcdefghijklmnopqrstuvwxyz0123456789"
_NOBODY: Final = hashlib.sha256(b"").hexdigest()  # no key that PATTERN lets through has it


class Scope(StrEnum):
    """What a key may do: ask for everything, or send readings."""

    READ = "read"
    INGEST = "ingest"


class InvalidKeys(Exception):  # noqa: N818 - says what is wrong with a file, and what to do
    """The file of keys cannot be used."""


class Key(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept of a key. `devices`: prefixes of the ids that it may send readings of; null: of any."""

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
            raise ValueError("devices limit what a key may send; without the scope ingest they mean nothing")
        for prefix in self.devices:
            if not valid_id(prefix):
                raise ValueError(f"{prefix!r} begins no device id: those are {ID_RULE}")

    def expired(self, now: datetime) -> bool:
        """Whether its time is over."""
        return self.expires is not None and now >= self.expires


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: Literal[1]
    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class ApiKeys:
    """Keys by their ids."""

    by_id: Mapping[str, Key]

    def find(self, sent: bytes) -> Key | None:
        """The key that was sent, expired or not; None when there is none like it.

        An id that nobody has takes the same steps as one with a wrong secret.
        """
        form = PATTERN.fullmatch(sent)
        if form is None:
            return None
        key = self.by_id.get(form[1].decode())
        same = hmac.compare_digest(hashlib.sha256(sent).hexdigest(), key.sha256 if key else _NOBODY)
        return key if same else None


NONE: Final = ApiKeys({})


def new_key(
    name: str,
    scopes: Iterable[Scope],
    *,
    created: datetime,
    devices: Iterable[str] | None = None,
    expires: datetime | None = None,
) -> tuple[str, Key]:
    """A new secret, which nobody will ever see again, and what is kept of it.

    Raises:
        InvalidKeys: the devices fit no device id, or the scopes; nothing was made.
    """
    key_id = "".join(secrets.choice(_SYMBOLS) for _ in range(12))
    secret = f"energy_{key_id}_{secrets.token_urlsafe(32)}"
    kept = {
        "id": key_id,
        "name": name,
        "sha256": hashlib.sha256(secret.encode()).hexdigest(),
        "scopes": tuple(dict.fromkeys(scopes)),
        "devices": tuple(dict.fromkeys(devices)) if devices is not None else None,
        "created": created,
        "expires": expires,
    }
    try:
        return secret, msgspec.convert(kept, Key)
    except msgspec.ValidationError as error:
        raise InvalidKeys(str(error)) from None


def parse(content: bytes) -> ApiKeys:
    """The keys of a file.

    Raises:
        InvalidKeys: says what is wrong, and where.
    """
    try:
        listed = msgspec.json.decode(content, type=_File).keys
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidKeys(f"is not a file of keys: {error}") from None
    by_id = {key.id: key for key in listed}
    if len(by_id) < len(listed):
        raise InvalidKeys("has two keys with the same id; remove one of them")
    return ApiKeys(by_id)


def dump(keys: ApiKeys) -> bytes:
    """The file of these keys: JSON, for people too."""
    listed = sorted(keys.by_id.values(), key=lambda key: (key.created, key.id))
    return msgspec.json.format(msgspec.json.encode(_File(1, tuple(listed))), indent=2) + b"\n"
