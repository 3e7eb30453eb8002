"""Shifts the wall clock of a Python process by the seconds that are in the file CLOCK_SHIFT_FILE, which is read again and again.

Python imports a module of this name by itself when its folder is on PYTHONPATH. The monotonic clock is not shifted.
"""

import ctypes
import datetime
import gc
import os
import time
from pathlib import Path
from typing import Any

READ_EVERY_SECONDS = 0.01
_file = Path(os.environ["CLOCK_SHIFT_FILE"])
_time_ns = time.time_ns
_read = {"at": float("-inf"), "seconds": 0.0}


def _shifted_ns() -> int:
    now = time.monotonic()
    if now - _read["at"] >= READ_EVERY_SECONDS:
        _read.update(at=now, seconds=float(_file.read_text() or 0))
    return _time_ns() + int(_read["seconds"] * 1e9)


def _now(cls: Any, tz: datetime.tzinfo | None = None) -> Any:
    return cls.fromtimestamp(_shifted_ns() / 1e9, tz)


# The class of the C module cannot be replaced, because other C modules compare types with it; so its dictionary is changed.
_members: Any = gc.get_referents(datetime.datetime.__dict__)[0]
_members["now"] = classmethod(_now)
_members["utcnow"] = classmethod(lambda cls: _now(cls, datetime.UTC).replace(tzinfo=None))
ctypes.pythonapi.PyType_Modified(ctypes.py_object(datetime.datetime))
time.time = lambda: _shifted_ns() / 1e9
time.time_ns = _shifted_ns
