"""How an instant is written: RFC 3339 with an offset, as the decoder of readings takes it."""

from typing import Final

# The date and the time may also stand apart by a space, and the offset may be written without its colon. Whether the month has
# that day is left to the calendar (the format date-time).
INSTANT_PATTERN: Final = (
    r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt ]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?"
    r"([Zz]|[+-]([01][0-9]|2[0-3]):?[0-5][0-9])$"
)
