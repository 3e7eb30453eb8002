"""The keys as the service has them now: read at the start, read again whenever their file changes."""

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from api.auth.api_keys import NONE, ApiKeys, InvalidKeys
from api.auth.key_file import read_keys

log = structlog.get_logger(__name__)

LOOK_EVERY_SECONDS: Final = 1.0
# A file that was just written may be written again without a visible change of its times.
SETTLED_AFTER_SECONDS: Final = 2.0
Signature = tuple[int, int, int, int]


class KeyStore:
    """Keys of a file, or none. A file that breaks later changes nothing: the keys before it stay good."""

    def __init__(self, path: Path | None, registry: CollectorRegistry) -> None:
        """Read the file.

        Raises:
            InvalidKeys: it cannot be used.
        """
        self._path = path
        self._failures = Counter(
            "energy_api_keys_reload_failures",
            "Changed files of API keys that could not be used; the keys before them stay good",
            registry=registry,
        )
        self._count = Gauge("energy_api_keys", "API keys that are known, expired ones too", registry=registry)
        self._broken = Gauge(
            "energy_api_keys_file_broken", "1 while the file of API keys cannot be used", registry=registry
        )
        self._seen = self._signature()
        self.keys = self._take(read_keys(path)) if path else NONE

    async def watch(self) -> None:
        """Look for a change once a second, until cancelled."""
        while self._path:
            await asyncio.sleep(LOOK_EVERY_SECONDS)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Read the file again if it has changed."""
        seen = self._signature()
        if self._path is None or (seen == self._seen and not _fresh(seen)):
            return
        changed, self._seen = seen != self._seen, seen
        try:
            keys = read_keys(self._path)
        except InvalidKeys as error:
            if changed:
                self._failures.inc()
                log.error("api_keys_not_reloaded", detail=str(error), keys_kept=len(self.keys.by_id))
            self._broken.set(1)
        else:
            self._broken.set(0)
            if keys != self.keys:
                self.keys = self._take(keys)

    def _take(self, keys: ApiKeys) -> ApiKeys:
        self._count.set(len(keys.by_id))
        log.info("api_keys_loaded", keys=sorted(keys.by_id))
        now = datetime.now(UTC)
        if expired := sorted(key.id for key in keys.by_id.values() if key.expired(now)):
            log.warning("api_keys_expired", keys=expired)
        return keys

    def _signature(self) -> Signature | None:
        if self._path is None:
            return None
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _fresh(seen: Signature | None) -> bool:
    return seen is not None and time.time() - seen[3] / 1e9 < SETTLED_AFTER_SECONDS
