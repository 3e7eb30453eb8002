"""Records whose header names are not UTF-8.

aiokafka raises UnicodeDecodeError for them, at every attempt to read the partition. The consumer uses no headers, so such a
record is decoded again by the library's Python code, which replaces the bytes that are not UTF-8.
"""

from typing import Any

from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords, _MemoryRecordsPy

MAGIC_BYTE = 16  # its position in a batch; see the head of memory_records.py
FIRST_MAGIC_WITH_HEADERS = 2


class FetchedRecords:
    """The library's MemoryRecords, which also keeps the bytes that it was made from."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        records: Any = MemoryRecords(data)
        self.has_next, self.next_batch, self.size_in_bytes = records.has_next, records.next_batch, records.size_in_bytes


class LenientRecords(_MemoryRecordsPy):  # type: ignore[misc]
    """MemoryRecords whose batches accept any header name."""

    def next_batch(self) -> Any:
        following: memoryview | None = self._next_slice
        if following is None or following[MAGIC_BYTE] < FIRST_MAGIC_WITH_HEADERS:
            return super().next_batch()
        self._cache_next()
        return _LenientBatch(following)


class _LenientBatch(_DefaultRecordBatchPy):  # type: ignore[misc]
    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer: bytearray = _LenientBytes(self._buffer)


class _LenientBytes(bytearray):
    """Bytes whose slices can be decoded whatever they contain."""

    def __getitem__(self, key: Any) -> Any:
        found: Any = super().__getitem__(key)
        return _LenientBytes(found) if isinstance(key, slice) else found

    def decode(self, encoding: str = "utf-8", errors: str = "replace") -> str:
        return super().decode(encoding, errors)
