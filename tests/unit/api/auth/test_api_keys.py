"""Only the exact key that was created is accepted, until it expires."""

import hashlib
import hmac
import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.auth.api_keys import KEY_PATTERN, NO_KEYS, ApiKeys, InvalidKeys, Key, Scope, dump, new_key, parse

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
SECRET, STORED = new_key("somebody", [Scope.READ], created=NOW)
ONE = ApiKeys({STORED.id: STORED})
names = st.text(min_size=1, max_size=100)
scope_lists = st.sampled_from([[Scope.READ], [Scope.INGEST], [Scope.READ, Scope.INGEST]])


@given(names, scope_lists, st.none() | st.integers(1, 1000))
def test_a_new_key_is_found_after_a_round_trip_through_the_file(
    name: str, scopes: list[Scope], days: int | None
) -> None:
    expires = NOW + timedelta(days=days) if days else None
    secret, key = new_key(name, scopes, created=NOW, expires=expires)
    read = parse(dump(ApiKeys({**ONE.by_id, key.id: key})))
    assert read.find(secret.encode()) == key
    assert read.find(SECRET.encode()) == STORED
    assert secret not in dump(read).decode()
    assert secret.split("_", 2)[2] not in dump(read).decode()


@given(st.binary(max_size=100) | st.text(max_size=100).map(str.encode) | st.from_regex(KEY_PATTERN, fullmatch=True))
def test_no_other_bytes_are_accepted(sent: bytes) -> None:
    assert ONE.find(sent) is None
    assert NO_KEYS.find(sent) is None


@given(st.integers(0, len(SECRET) - 1), st.characters(codec="ascii"))
def test_a_key_with_one_character_changed_is_not_accepted(at: int, other: str) -> None:
    changed = SECRET[:at] + other + SECRET[at + 1 :]
    assert (ONE.find(changed.encode()) is not None) == (changed == SECRET)


@pytest.mark.parametrize("surrounding", ["{} ", " {}", "{}\n", "{}\x00", "{0}{0}", "{}="])
def test_a_key_with_surrounding_characters_is_not_accepted(surrounding: str) -> None:
    assert ONE.find(surrounding.format(SECRET).encode()) is None


def test_keys_are_long_random_and_unique() -> None:
    made = [new_key("n", [Scope.READ], created=NOW)[0] for _ in range(1000)]
    assert (
        len({secret.split("_", 2)[1] for secret in made}) == len({secret.split("_", 2)[2] for secret in made}) == 1000
    )
    assert all(KEY_PATTERN.fullmatch(secret.encode()) for secret in made)
    assert all(len(secret.split("_", 2)[2]) * 6 >= 256 for secret in made), "six bits a character"


def test_a_hash_is_stored_and_never_the_key() -> None:
    assert STORED.sha256 == hashlib.sha256(SECRET.encode()).hexdigest()
    assert SECRET.split("_", 2)[2] not in repr(STORED)


def test_an_unknown_id_takes_the_same_comparison_as_a_wrong_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    compared, same = [], hmac.compare_digest

    def compare(one: str, other: str) -> bool:
        compared.append((len(one), len(other)))
        return same(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    ONE.find(new_key("n", [Scope.READ], created=NOW)[0].encode())  # no such id
    ONE.find(SECRET[:-1].encode() + (b"A" if SECRET[-1] != "A" else b"B"))  # a wrong secret
    assert compared == [(64, 64), (64, 64)]


def test_a_key_expires_at_its_time_and_not_before() -> None:
    _, key = new_key("n", [Scope.READ], created=NOW, expires=NOW + timedelta(hours=1))
    assert not key.expired(NOW + timedelta(minutes=59))
    assert key.expired(NOW + timedelta(hours=1))
    assert not STORED.expired(datetime.max.replace(tzinfo=UTC))


def _changed(**fields: object) -> bytes:
    file = json.loads(dump(ONE))
    file["keys"][0] |= fields
    return json.dumps(file).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a key file"),
        (b"\xff\xfe", "not a key file"),
        (dump(ONE)[:-20], "not a key file"),
        (b"[]", "not a key file"),
        (b'{"version": 2, "keys": []}', "version"),
        (json.dumps({"version": 1, "keys": json.loads(dump(ONE))["keys"] * 2}).encode(), "same id"),
        (_changed(sha256="x" * 64), "sha256"),
        (_changed(scopes=[]), "scopes"),
        (_changed(scopes=["write"]), "write"),
        (_changed(devices=[]), "devices"),
        (_changed(devices=["METER-"]), "without the scope ingest"),
        (_changed(scopes=["ingest"], devices=[""]), "not a prefix of any device id"),
        (_changed(expires="2026-11-26T12:00:00"), "expires"),
        (_changed(device=["METER-"]), "device"),
    ],
)
def test_a_file_with_any_invalid_part_is_rejected_as_a_whole(content: bytes, message: str) -> None:
    with pytest.raises(InvalidKeys, match=re.escape(message)):
        parse(content)


def test_devices_need_the_scope_ingest() -> None:
    with pytest.raises(InvalidKeys, match="without the scope ingest"):
        new_key("n", [Scope.READ], created=NOW, devices=["METER-"])
    _, key = new_key("n", [Scope.INGEST], created=NOW, devices=["METER-", "METER-"])
    assert isinstance(key, Key)
    assert key.devices == ("METER-",)
