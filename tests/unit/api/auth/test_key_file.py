"""The file of keys: replaced in one step, by one writer at a time; a file that breaks later locks nobody out."""

import os
import stat
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from api.auth import key_file as keyfile
from api.auth.api_keys import ApiKeys, InvalidKeys, Scope, new_key
from api.auth.key_file import change_keys, read_keys
from api.auth.key_store import KeyStore
from tests.support.key_file import KeyFile, id_of

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "keys.json")


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_is_its_owners_alone_and_a_mode_that_was_set_is_kept(keys: KeyFile) -> None:
    keys.add(Scope.READ)
    assert _mode(keys.path) == 0o600
    keys.path.chmod(0o640)
    before = keys.path.stat().st_ino
    keys.add(Scope.READ)
    assert _mode(keys.path) == 0o640
    assert keys.path.stat().st_ino != before, "replaced, never written over"
    assert [each.name for each in keys.path.parent.iterdir()] == ["keys.json"], "nothing is left lying about"


def test_many_writers_at_once_lose_nothing(keys: KeyFile) -> None:
    threads = [threading.Thread(target=keys.add, args=(Scope.READ,)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(keys.ids) == 20


def test_a_write_that_fails_leaves_the_file_as_it_was(keys: KeyFile, monkeypatch: pytest.MonkeyPatch) -> None:
    keys.add(Scope.READ)
    before = keys.path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(InvalidKeys, match="No space left"):
            keys.add(Scope.READ)
    assert keys.path.read_bytes() == before
    assert [each.name for each in keys.path.parent.iterdir()] == ["keys.json"]


def test_a_file_that_would_change_hands_is_not_written(keys: KeyFile, monkeypatch: pytest.MonkeyPatch) -> None:
    keys.add(Scope.READ)
    theirs = list(keys.path.stat())
    theirs[stat.ST_UID] += 1

    def not_allowed(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "fchown", not_allowed)  # the tests may run as a superuser, who may do anything
    with keys.path.open("rb") as ours, pytest.raises(InvalidKeys, match="run this command as that user"):
        keyfile._as_before(ours.fileno(), os.stat_result(theirs), keys.path)


def test_a_link_stays_a_link(keys: KeyFile, tmp_path: Path) -> None:
    link = tmp_path / "elsewhere" / "link.json"
    link.parent.mkdir()
    keys.add(Scope.READ)
    link.symlink_to(keys.path)
    KeyFile(link).add(Scope.READ)
    assert link.is_symlink()
    assert len(keys.ids) == 2


def test_a_file_that_anybody_may_write_or_that_is_none_is_refused(keys: KeyFile, tmp_path: Path) -> None:
    with pytest.raises(InvalidKeys, match="keys create makes it"):
        read_keys(keys.path)
    with pytest.raises(InvalidKeys, match="cannot be read"):
        read_keys(tmp_path)
    keys.add(Scope.READ)
    keys.path.chmod(0o666)
    with pytest.raises(InvalidKeys, match="chmod o-w"):
        read_keys(keys.path)
    with pytest.raises(InvalidKeys, match="chmod o-w"):
        keys.add(Scope.READ)


def test_a_broken_file_is_not_written_over(keys: KeyFile) -> None:
    keys.path.write_bytes(b"{")
    with pytest.raises(InvalidKeys, match="not a file of keys"):
        keys.add(Scope.READ)
    assert keys.path.read_bytes() == b"{"


def _value(registry: CollectorRegistry, name: str) -> float | None:
    return registry.get_sample_value(name)


def test_a_changed_file_is_read_again_and_one_that_is_broken_or_gone_changes_nothing(keys: KeyFile) -> None:
    first, registry = keys.add(Scope.READ), CollectorRegistry()
    ring = KeyStore(keys.path, registry)
    second = keys.add(Scope.READ)
    assert ring.keys.find(second.encode()) is None
    ring.look()
    assert ring.keys.find(second.encode())
    good = keys.path.read_bytes()

    damages: list[Callable[[], object]] = [lambda: keys.path.write_bytes(good[:-9]), keys.path.unlink]
    for number, damage in enumerate(damages, 1):
        damage()
        for _ in range(3):  # counted once, however often it is looked at
            ring.look()
        assert ring.keys.find(first.encode())
        assert _value(registry, "energy_api_keys_reload_failures_total") == number
        assert _value(registry, "energy_api_keys_file_broken") == 1

    keys.path.write_bytes(good)
    change_keys(keys.path, lambda known: ApiKeys({key_id: known.by_id[key_id] for key_id in [id_of(second)]}))
    ring.look()
    assert ring.keys.find(first.encode()) is None
    assert ring.keys.find(second.encode())
    assert _value(registry, "energy_api_keys_file_broken") == 0
    assert _value(registry, "energy_api_keys") == 1


def test_a_file_written_twice_within_a_tick_of_its_clock_is_read_twice(keys: KeyFile) -> None:
    keys.add(Scope.READ)
    ring = KeyStore(keys.path, CollectorRegistry())
    secret, key = new_key("n", [Scope.READ], created=NOW)
    change_keys(keys.path, lambda known: ApiKeys({**known.by_id, key.id: key}))
    ring._seen = ring._signature()  # as if nothing could be seen from outside
    ring.look()
    assert ring.keys.find(secret.encode())


def test_at_the_start_the_file_must_be_good(keys: KeyFile) -> None:
    with pytest.raises(InvalidKeys, match="does not exist"):
        KeyStore(keys.path, CollectorRegistry())
    assert KeyStore(None, CollectorRegistry()).keys.by_id == {}
