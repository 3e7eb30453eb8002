"""The API keys of a running service: read at startup, reloaded when the key file changes."""

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from api.auth.api_keys import NO_KEYS, ApiKeys, InvalidKeys
from api.auth.key_file import read_keys

log = structlog.get_logger(__name__)

CHECK_EVERY_SECONDS: Final = 1.0
# A second write within one tick of the file system's clock changes no timestamp, so a recently written file is read again even
# if it looks unchanged.
RECENT_SECONDS: Final = 2.0
Signature = tuple[int, int, int, int]


class KeyStore:
    """The keys of a file, or none. A file that becomes unusable later changes nothing: the last good keys stay valid."""

    def __init__(self, path: Path | None, registry: CollectorRegistry) -> None:
        """Reads the file.

        Raises:
            InvalidKeys: the file cannot be used.
        """
        self._path = path
        self._failures = Counter(
            "energy_api_keys_reload_failures",
            "Changes of the key file that could not be loaded; the last good keys stay valid",
            registry=registry,
        )
        self._count = Gauge("energy_api_keys", "API keys in the key file, including expired ones", registry=registry)
        self._broken = Gauge("energy_api_keys_file_broken", "1 while the key file cannot be used", registry=registry)
        self._signature = self._file_signature()
        self.keys = NO_KEYS
        if path:
            self._use(read_keys(path))

    async def watch(self) -> None:
        """Reloads the keys when the file changes. Runs until cancelled."""
        while self._path:
            await asyncio.sleep(CHECK_EVERY_SECONDS)
            try:
                await asyncio.to_thread(self.reload_if_changed)
            except Exception:  # of our own code: a later change must be seen
                self._failures.inc()
                log.exception("api_keys_reload_failed", keys_kept=len(self.keys.by_id))

    def reload_if_changed(self) -> None:
        signature = self._file_signature()
        if self._path is None or (signature == self._signature and not _is_recent(signature)):
            return
        changed, self._signature = signature != self._signature, signature
        try:
            keys = read_keys(self._path)
        except InvalidKeys as error:
            if changed:
                self._failures.inc()
                log.error("api_keys_reload_failed", detail=str(error), keys_kept=len(self.keys.by_id))
            self._broken.set(1)
        else:
            self._broken.set(0)
            if keys != self.keys:
                self._use(keys)

    def _use(self, keys: ApiKeys) -> None:
        self.keys = keys
        self._count.set(len(keys.by_id))
        log.info("api_keys_loaded", keys=sorted(keys.by_id))
        now = datetime.now(UTC)
        if expired := sorted(key.id for key in keys.by_id.values() if key.expired(now)):
            log.warning("api_keys_expired", keys=expired)

    def _file_signature(self) -> Signature | None:
        if self._path is None:
            return None
        try:
            file = self._path.stat()
        except OSError:
            return None
        return file.st_ino, file.st_size, file.st_mtime_ns, file.st_ctime_ns


def _is_recent(signature: Signature | None) -> bool:
    return signature is not None and time.time() - signature[3] / 1e9 < RECENT_SECONDS
