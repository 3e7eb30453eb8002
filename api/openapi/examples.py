"""Example responses of the OpenAPI document, by operation. A test validates them against the response models."""

from typing import Any, Final

PERFORMANCE: Final[dict[str, Any]] = {
    "vehicleId": "VEH-001",
    "totalEnergyConsumedAc": 45.23,
    "totalEnergyDeliveredDc": 42.07,
    "efficiencyRatio": 93.01,
    "averageBatteryTemp": 28.3,
    "timeWindowStart": "2026-02-08T15:30:00Z",
    "timeWindowEnd": "2026-02-09T15:30:00Z",
    "dataPoints": 1440,
    "coverage": {"ac": 1.0, "dc": 1.0},
    "status": "healthy",
    "reason": "93.01 % is at or above 90 %",
}
TREND: Final[dict[str, Any]] = {
    "vehicleId": "VEH-001",
    "status": "aging",
    "slopePerDay": -0.12,
    "slopeLow": -0.15,
    "slopeHigh": -0.09,
    "level": 87.4,
    "daysUntilFault": 20.0,
    "days": [{"day": "2026-02-08", "efficiencyRatio": 87.5, "coverage": 0.99}],
}
SUMMARY: Final[dict[str, Any]] = {
    "timeWindowStart": "2026-02-08T15:30:00Z",
    "timeWindowEnd": "2026-02-09T15:30:00Z",
    "vehicles": 2,
    "totalEnergyConsumedAc": 90.5,
    "totalEnergyDeliveredDc": 83.1,
    "efficiencyRatio": 91.82,
    "efficiencyCoverage": 1.0,
    "vehiclesJudged": 2,
    "statuses": {
        "healthy": 1,
        "degraded": 1,
        "faulty": 0,
        "insufficientData": 0,
        "unassigned": 0,
        "implausible": 0,
    },
    "distribution": [
        {"fromPercent": 88.0, "toPercent": 90.0, "vehicles": 1},
        {"fromPercent": 92.0, "toPercent": 94.0, "vehicles": 1},
    ],
    "openFaults": 0,
    "aging": 1,
    "live": {
        "vehicles": 2,
        "vehiclesReporting": 2,
        "meters": 2,
        "metersReporting": 2,
        "recordsConsumed": 5760,
        "readingsPerSecond": 0.07,
        "lagRecords": 0,
        "newestReading": "2026-02-09T15:30:00Z",
        "freshnessSeconds": 1.2,
        "writtenAt": "2026-02-09T15:30:00.4Z",
    },
    "evaluatedAt": "2026-02-09T15:30:00Z",
    "stale": False,
}
RANKED: Final[dict[str, Any]] = {
    "vehicleId": "VEH-001",
    "efficiencyRatio": 93.01,
    "status": "healthy",
    "reason": "93.01 % is at or above 90 %",
    "totalEnergyConsumedAc": 45.23,
    "totalEnergyDeliveredDc": 42.07,
    "averageBatteryTemp": 28.3,
    "coverage": {"ac": 1.0, "dc": 1.0},
    "soc": 85.0,
    "recordedAt": "2026-02-09T15:30:00Z",
    "faultOpen": False,
    "trend": "steady",
}
AGING: Final[dict[str, Any]] = {name: value for name, value in TREND.items() if name != "days"} | {
    "lastDay": "2026-02-08",
    "computedAt": "2026-02-09T00:10:00Z",
}
FAULT: Final[dict[str, Any]] = {
    "faultId": 1770651000123456,
    "vehicleId": "VEH-001",
    "meterIds": ["METER-001"],
    "state": "open",
    "openedAt": "2026-02-09T15:30:00Z",
    "openedRatio": 71.08,
    "openedEnergyAc": 45.23,
    "openedEnergyDc": 32.15,
    "lowestRatio": 70.2,
    "closedAt": None,
    "closedRatio": None,
}
VEHICLE: Final[dict[str, Any]] = {
    "vehicleId": "VEH-001",
    "soc": 85.0,
    "lastKwhDeliveredDc": 0.45,
    "lastBatteryTemp": 28.3,
    "recordedAt": "2026-02-09T15:30:00Z",
    "updatedAt": "2026-02-09T15:30:00.4Z",
}
METER: Final[dict[str, Any]] = {
    "meterId": "METER-001",
    "lastKwhConsumedAc": 0.49,
    "lastVoltage": 240.5,
    "recordedAt": "2026-02-09T15:30:00Z",
    "updatedAt": "2026-02-09T15:30:00.4Z",
}
DEAD_LETTERS: Final[dict[str, Any]] = {
    "topic": "meter-readings",
    "reason": "out_of_range",
    "letters": 3,
    "firstRejected": "2026-02-09T15:00:00Z",
    "lastRejected": "2026-02-09T15:30:00Z",
}
VEHICLE_READING: Final[dict[str, Any]] = {
    "recordedAt": "2026-02-09T15:30:00Z",
    "kwhDeliveredDc": 0.45,
    "soc": 85.0,
    "batteryTemp": 28.3,
}
METER_READING: Final[dict[str, Any]] = {"recordedAt": "2026-02-09T15:30:00Z", "kwhConsumedAc": 0.49, "voltage": 240.5}


def _batch(name: str) -> dict[str, Any]:
    """The response to a batch of one valid and one invalid reading."""
    invalid = {
        "index": 1,
        "status": 422,
        "message": "timestamp is missing",
        "errors": [{"field": "timestamp", "reason": "missing_field", "detail": "timestamp is missing"}],
    }
    ingested = {"index": 0, "status": 201, "message": f"{name} data ingested successfully"}
    return {"ingested": 1, "refused": 1, "sendAgain": [], "items": [ingested, invalid]}


EXAMPLES: Final[dict[str, Any]] = {
    "vehiclePerformance": PERFORMANCE,
    "vehiclePerformances": {"items": [PERFORMANCE], "unknown": ["VEH-404"]},
    "vehicleTrend": TREND,
    "fleetSummary": SUMMARY,
    "fleetRanking": {"items": [RANKED], "next": None, "total": 1, "totalIsExact": True},
    "fleetAging": {"items": [AGING]},
    "faults": {"items": [FAULT], "next": None},
    "vehicleHistory": {"items": [VEHICLE_READING], "next": None},
    "meterHistory": {"items": [METER_READING], "next": None},
    "vehicle": VEHICLE,
    "meter": METER,
    "vehicles": {"items": [VEHICLE], "next": None},
    "meters": {"items": [METER], "next": None},
    "ingestMeter": {"success": True, "message": "Meter METER-001 data ingested successfully"},
    "ingestVehicle": {"success": True, "message": "Vehicle VEH-001 data ingested successfully"},
    "ingestMeters": _batch("Meter METER-001"),
    "ingestVehicles": _batch("Vehicle VEH-001"),
    "access": {"open": False, "keyId": "k7f3a1", "scopes": ["read"], "devices": None},
    "live": {"status": "ok", "waitingFor": {}},
    "ready": {"status": "ok", "waitingFor": {"gateway": "topics that do not exist yet: meter-readings"}},
    "deadLetters": {"items": [DEAD_LETTERS], "total": 3},
}
