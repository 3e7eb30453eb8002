"""What is in flight never exceeds its bounds, and whoever leaves makes room."""

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from api.ingestion.admission import Admission, Overloaded

READINGS, REQUESTS, BYTES = 100, 8, 1000


class Flights(RuleBasedStateMachine):
    """Requests come and go in any order."""

    inside = Bundle("inside")
    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.admission = Admission(readings=READINGS, requests=REQUESTS, size=BYTES)
        self.readings: list[int] = []
        self.bytes = 0

    @rule(target=inside, readings=st.integers(0, READINGS))
    def enters(self, readings: int) -> Any:
        room = sum(self.readings) + readings <= READINGS and len(self.readings) < REQUESTS
        try:
            self.admission.enter(readings)
        except Overloaded:
            assert not room
            return multiple()
        assert room
        self.readings.append(readings)
        return readings

    @rule(readings=consumes(inside))
    def leaves(self, readings: int) -> None:
        self.admission.leave(readings)
        self.readings.remove(readings)

    @rule(target=held, size=st.integers(0, BYTES))
    def holds(self, size: int) -> Any:
        room = self.bytes + size <= BYTES
        try:
            self.admission.hold(size)
        except Overloaded:
            assert not room
            return multiple()
        assert room
        self.bytes += size
        return size

    @rule(size=consumes(held))
    def releases(self, size: int) -> None:
        self.admission.release(size)
        self.bytes -= size

    @invariant()
    def is_what_is_in_flight(self) -> None:
        found = (self.admission.readings, self.admission.requests, self.admission.bytes)
        assert found == (sum(self.readings), len(self.readings), self.bytes)
        full = sum(self.readings) >= READINGS or len(self.readings) >= REQUESTS or self.bytes >= BYTES
        if full:
            with pytest.raises(Overloaded):
                self.admission.check()
        else:
            self.admission.check()


TestFlights = Flights.TestCase
