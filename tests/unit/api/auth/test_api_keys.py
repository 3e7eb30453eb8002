"""API keys: only the very key that was made is good, for as long as it is."""

import hashlib
import hmac
import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.auth.api_keys import NONE, PATTERN, ApiKeys, InvalidKeys, Key, Scope, dump, new_key, parse

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
SECRET, KEPT = new_key("somebody", [Scope.READ], created=NOW)
ONE = ApiKeys({KEPT.id: KEPT})
names = st.text(min_size=1, max_size=100)
scopes = st.sampled_from([[Scope.READ], [Scope.INGEST], [Scope.READ, Scope.INGEST]])


@given(names, scopes, st.none() | st.integers(1, 1000))
def test_a_key_that_was_made_is_found_after_a_round_trip_through_the_file(
    name: str, may: list[Scope], days: int | None
) -> None:
    expires = NOW + timedelta(days=days) if days else None
    secret, key = new_key(name, may, created=NOW, expires=expires)
    read = parse(dump(ApiKeys({**ONE.by_id, key.id: key})))
    assert read.find(secret.encode()) == key
    assert read.find(SECRET.encode()) == KEPT
    assert secret not in dump(read).decode()
    assert secret.split("_", 2)[2] not in dump(read).decode()


@given(st.binary(max_size=100) | st.text(max_size=100).map(str.encode) | st.from_regex(PATTERN, fullmatch=True))
def test_nothing_else_is_ever_accepted(sent: bytes) -> None:
    assert ONE.find(sent) is None
    assert NONE.find(sent) is None


@given(st.integers(0, len(SECRET) - 1), st.characters(codec="ascii"))
def test_a_key_with_one_character_changed_is_not_accepted(at: int, other: str) -> None:
    changed = SECRET[:at] + other + SECRET[at + 1 :]
    assert (ONE.find(changed.encode()) is not None) == (changed == SECRET)


@pytest.mark.parametrize("around", ["{} ", " {}", "{}\n", "{}\x00", "{0}{0}", "{}="])
def test_a_key_with_something_around_it_is_not_accepted(around: str) -> None:
    assert ONE.find(around.format(SECRET).encode()) is None


def test_keys_are_long_random_and_never_the_same() -> None:
    made = [new_key("n", [Scope.READ], created=NOW)[0] for _ in range(1000)]
    assert (
        len({secret.split("_", 2)[1] for secret in made}) == len({secret.split("_", 2)[2] for secret in made}) == 1000
    )
    assert all(PATTERN.fullmatch(secret.encode()) for secret in made)
    assert all(len(secret.split("_", 2)[2]) * 6 >= 256 for secret in made), "six bits a character"


def test_a_hash_is_kept_and_shown_to_nobody_as_the_key() -> None:
    assert KEPT.sha256 == hashlib.sha256(SECRET.encode()).hexdigest()
    assert SECRET.split("_", 2)[2] not in repr(KEPT)


def test_an_unknown_id_is_compared_as_a_known_one(monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert not KEPT.expired(datetime.max.replace(tzinfo=UTC))


def _changed(**fields: object) -> bytes:
    file = json.loads(dump(ONE))
    file["keys"][0] |= fields
    return json.dumps(file).encode()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not a file of keys"),
        (b"\xff\xfe", "not a file of keys"),
        (dump(ONE)[:-20], "not a file of keys"),
        (b"[]", "not a file of keys"),
        (b'{"version": 2, "keys": []}', "version"),
        (json.dumps({"version": 1, "keys": json.loads(dump(ONE))["keys"] * 2}).encode(), "same id"),
        (_changed(sha256="x" * 64), "sha256"),
        (_changed(scopes=[]), "scopes"),
        (_changed(scopes=["write"]), "write"),
        (_changed(devices=[]), "devices"),
        (_changed(devices=["METER-"]), "without the scope ingest"),
        (_changed(scopes=["ingest"], devices=[""]), "begins no device id"),
        (_changed(expires="2026-11-26T12:00:00"), "expires"),
        (_changed(device=["METER-"]), "device"),
    ],
)
def test_a_file_with_anything_unclear_in_it_is_refused_as_a_whole(content: bytes, says: str) -> None:
    with pytest.raises(InvalidKeys, match=re.escape(says)):
        parse(content)


def test_limits_to_devices_need_something_to_limit() -> None:
    with pytest.raises(InvalidKeys, match="without the scope ingest"):
        new_key("n", [Scope.READ], created=NOW, devices=["METER-"])
    _, key = new_key("n", [Scope.INGEST], created=NOW, devices=["METER-", "METER-"])
    assert isinstance(key, Key)
    assert key.devices == ("METER-",)
