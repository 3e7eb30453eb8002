"""How an instant is written: RFC 3339 with an offset."""

from typing import Final

_YEAR: Final = "([1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
_DAY: Final = "-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"  # whether the month has that day is left to the calendar
_TIME: Final = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?"
_OFFSET: Final = "([01][0-9]|2[0-3])"

# What the decoder of records takes: date and time may stand apart by a space, and the offset may be without its colon.
INSTANT_PATTERN: Final = rf"^{_YEAR}{_DAY}[Tt ]{_TIME}([Zz]|[+-]{_OFFSET}:?[0-5][0-9])$"
# What is taken from the text of a query: RFC 3339 to the letter, in years that every calendar and the database agree on.
QUERY_PATTERN: Final = rf"^(197[1-9]|19[89][0-9]|[2-8][0-9]{{3}}){_DAY}[Tt]{_TIME}([Zz]|[+-]{_OFFSET}:[0-5][0-9])$"
