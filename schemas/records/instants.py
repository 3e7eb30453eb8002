"""Regular expressions for instants: RFC 3339 with an offset."""

from typing import Final

_YEAR: Final = "([1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
_DAY: Final = "-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"  # the parser checks that the month has this day
_TIME: Final = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?"
_OFFSET: Final = "([01][0-9]|2[0-3])"

# Accepted in records, as by the decoder: a space may separate date and time, and the offset may lack its colon.
INSTANT_PATTERN: Final = rf"^{_YEAR}{_DAY}[Tt ]{_TIME}([Zz]|[+-]{_OFFSET}:?[0-5][0-9])$"
# Accepted in query parameters: strict RFC 3339, in years that Python and PostgreSQL both support.
QUERY_PATTERN: Final = rf"^(197[1-9]|19[89][0-9]|[2-8][0-9]{{3}}){_DAY}[Tt]{_TIME}([Zz]|[+-]{_OFFSET}:[0-5][0-9])$"
