"""The key file is replaced atomically by one writer at a time, and the last good keys outlive a broken file."""

import os
import stat
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from api.auth import key_file
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


def test_a_new_file_is_readable_by_its_owner_only_and_a_changed_mode_is_kept(keys: KeyFile) -> None:
    keys.add(Scope.READ)
    assert _mode(keys.path) == 0o600
    keys.path.chmod(0o640)
    before = keys.path.stat().st_ino
    keys.add(Scope.READ)
    assert _mode(keys.path) == 0o640
    assert keys.path.stat().st_ino != before, "replaced, never overwritten"
    assert [each.name for each in keys.path.parent.iterdir()] == ["keys.json"], "no temporary file is left"


def test_concurrent_writers_lose_no_key(keys: KeyFile) -> None:
    threads = [threading.Thread(target=keys.add, args=(Scope.READ,)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(keys.ids) == 20


def test_a_failed_write_leaves_the_file_unchanged(keys: KeyFile, monkeypatch: pytest.MonkeyPatch) -> None:
    keys.add(Scope.READ)
    before = keys.path.read_bytes()

    def disk_full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", disk_full)
        with pytest.raises(InvalidKeys, match="No space left"):
            keys.add(Scope.READ)
    assert keys.path.read_bytes() == before
    assert [each.name for each in keys.path.parent.iterdir()] == ["keys.json"]


def test_a_file_whose_owner_would_change_is_not_written(keys: KeyFile, monkeypatch: pytest.MonkeyPatch) -> None:
    keys.add(Scope.READ)
    other_owner = list(keys.path.stat())
    other_owner[stat.ST_UID] += 1

    def not_allowed(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "fchown", not_allowed)  # a superuser could change the owner
    with keys.path.open("rb") as file, pytest.raises(InvalidKeys, match="run this command as that user"):
        key_file._copy_permissions(file.fileno(), os.stat_result(other_owner), keys.path)


def test_a_symbolic_link_stays_a_link(keys: KeyFile, tmp_path: Path) -> None:
    link = tmp_path / "elsewhere" / "link.json"
    link.parent.mkdir()
    keys.add(Scope.READ)
    link.symlink_to(keys.path)
    KeyFile(link).add(Scope.READ)
    assert link.is_symlink()
    assert len(keys.ids) == 2


def test_a_file_that_is_missing_irregular_or_world_writable_is_rejected(keys: KeyFile, tmp_path: Path) -> None:
    with pytest.raises(InvalidKeys, match="create it with python -m api keys create"):
        read_keys(keys.path)
    with pytest.raises(InvalidKeys, match="cannot be read"):
        read_keys(tmp_path)
    keys.add(Scope.READ)
    keys.path.chmod(0o666)
    with pytest.raises(InvalidKeys, match="chmod o-w"):
        read_keys(keys.path)
    with pytest.raises(InvalidKeys, match="chmod o-w"):
        keys.add(Scope.READ)


def test_a_broken_file_is_not_overwritten(keys: KeyFile) -> None:
    keys.path.write_bytes(b"{")
    with pytest.raises(InvalidKeys, match="not a key file"):
        keys.add(Scope.READ)
    assert keys.path.read_bytes() == b"{"


def _value(registry: CollectorRegistry, name: str) -> float | None:
    return registry.get_sample_value(name)


def test_a_changed_file_is_reloaded_and_a_broken_or_missing_one_keeps_the_last_good_keys(keys: KeyFile) -> None:
    first, registry = keys.add(Scope.READ), CollectorRegistry()
    store = KeyStore(keys.path, registry)
    second = keys.add(Scope.READ)
    assert store.keys.find(second.encode()) is None
    store.reload_if_changed()
    assert store.keys.find(second.encode())
    good = keys.path.read_bytes()

    damages: list[Callable[[], object]] = [lambda: keys.path.write_bytes(good[:-9]), keys.path.unlink]
    for number, damage in enumerate(damages, 1):
        damage()
        for _ in range(3):  # a failure is counted once, however often the file is checked
            store.reload_if_changed()
        assert store.keys.find(first.encode())
        assert _value(registry, "energy_api_keys_reload_failures_total") == number
        assert _value(registry, "energy_api_keys_file_broken") == 1

    keys.path.write_bytes(good)
    change_keys(keys.path, lambda stored: ApiKeys({key_id: stored.by_id[key_id] for key_id in [id_of(second)]}))
    store.reload_if_changed()
    assert store.keys.find(first.encode()) is None
    assert store.keys.find(second.encode())
    assert _value(registry, "energy_api_keys_file_broken") == 0
    assert _value(registry, "energy_api_keys") == 1


def test_a_second_write_that_changes_no_timestamp_is_loaded(keys: KeyFile) -> None:
    keys.add(Scope.READ)
    store = KeyStore(keys.path, CollectorRegistry())
    secret, key = new_key("n", [Scope.READ], created=NOW)
    change_keys(keys.path, lambda stored: ApiKeys({**stored.by_id, key.id: key}))
    store._signature = store._file_signature()  # as if the second write had changed no timestamp
    store.reload_if_changed()
    assert store.keys.find(secret.encode())


def test_the_file_must_be_valid_at_startup(keys: KeyFile) -> None:
    with pytest.raises(InvalidKeys, match="does not exist"):
        KeyStore(keys.path, CollectorRegistry())
    assert KeyStore(None, CollectorRegistry()).keys.by_id == {}
