"""A wall clock that is wrong: the environment of a process whose clock a test moves while it runs."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

SITE: Final = Path(__file__).with_name("shifted_clock")


@dataclass(frozen=True, slots=True)
class ShiftedClock:
    """The clock of the processes that get these settings; it is right until it is moved."""

    file: Path

    @property
    def settings(self) -> dict[str, str]:
        return {"PYTHONPATH": str(SITE), "CLOCK_SHIFT_FILE": str(self.file)}

    def move(self, ahead: timedelta) -> None:
        """Let the clock be this far ahead of the real one; negative: behind."""
        part = self.file.with_suffix(".part")
        part.write_text(str(ahead.total_seconds()))
        part.rename(self.file)


def shifted_clock(directory: Path, ahead: timedelta = timedelta()) -> ShiftedClock:
    """A clock whose state is a file in this directory."""
    clock = ShiftedClock(directory / "clock-shift")
    clock.move(ahead)
    return clock
