"""Admission control: what is in flight never exceeds its bounds, and releasing it makes room."""

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from api.ingestion.admission import Admission
from api.problems import Overloaded

READINGS, REQUESTS, BYTES = 100, 8, 1000


class AdmissionMachine(RuleBasedStateMachine):
    """Requests begin and end in any order."""

    admitted = Bundle("admitted")
    reserved = Bundle("reserved")

    def __init__(self) -> None:
        super().__init__()
        self.admission = Admission(max_readings=READINGS, max_requests=REQUESTS, max_bytes=BYTES)
        self.readings: list[int] = []
        self.bytes = 0

    @rule(target=admitted, readings=st.integers(0, READINGS))
    def acquire(self, readings: int) -> Any:
        room = sum(self.readings) + readings <= READINGS and len(self.readings) < REQUESTS
        try:
            self.admission.acquire(readings)
        except Overloaded:
            assert not room
            return multiple()
        assert room
        self.readings.append(readings)
        return readings

    @rule(readings=consumes(admitted))
    def release(self, readings: int) -> None:
        self.admission.release(readings)
        self.readings.remove(readings)

    @rule(target=reserved, size=st.integers(0, BYTES))
    def reserve_bytes(self, size: int) -> Any:
        room = self.bytes + size <= BYTES
        try:
            self.admission.reserve_bytes(size)
        except Overloaded:
            assert not room
            return multiple()
        assert room
        self.bytes += size
        return size

    @rule(size=consumes(reserved))
    def free_bytes(self, size: int) -> None:
        self.admission.free_bytes(size)
        self.bytes -= size

    @invariant()
    def counts_what_is_in_flight(self) -> None:
        counted = (self.admission.readings, self.admission.requests, self.admission.bytes)
        assert counted == (sum(self.readings), len(self.readings), self.bytes)
        full = sum(self.readings) >= READINGS or len(self.readings) >= REQUESTS or self.bytes >= BYTES
        if full:
            with pytest.raises(Overloaded):
                self.admission.check()
        else:
            self.admission.check()


TestAdmission = AdmissionMachine.TestCase
