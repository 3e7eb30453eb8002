"""The web page when something is away: it says so, keeps the last numbers as old ones, and comes back by itself."""

from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import expect

from tests.support.arrange import evaluate
from tests.support.browser import Look, Site, Viewer

pytestmark = pytest.mark.anyio


async def sees_current_numbers(viewer: Viewer, vehicles: str) -> None:
    await expect(viewer.find("#pulse .says")).to_have_text("Live")
    await expect(viewer.find("#window")).to_contain_text(f"{vehicles} vehicles evaluated")
    await expect(viewer.find("#banner.on")).to_have_count(0)
    await expect(viewer.find(".old:visible")).to_have_count(0)


async def sees_old_numbers(viewer: Viewer, why: str, pulse: str) -> None:
    await expect(viewer.find("#banner.on .says")).to_contain_text(why)
    await expect(viewer.find("#banner.on .says")).to_contain_text("The numbers on this page are outdated")
    await expect(viewer.find("#pulse .says")).to_have_text(pulse)
    await expect(viewer.find("#summary .old")).to_be_visible()
    await expect(viewer.value("totalEnergyConsumedAc")).to_have_text("100.0 kWh")


async def test_the_service_stops_and_is_started_again(site: Site, look: Look) -> None:
    await evaluate(site.database, "VEH-001", datetime.now(UTC))
    await site.start()
    async with look() as viewer:
        await viewer.open()
        await sees_current_numbers(viewer, "1")
        site.stop()
        await sees_old_numbers(viewer, "The service does not respond.", "Disconnected, reconnecting")
        await evaluate(site.database, "VEH-002", datetime.now(UTC))
        await site.start()
        await sees_current_numbers(viewer, "2")
        await expect(viewer.vehicles()).to_have_count(2)


async def test_the_service_stands_still_and_goes_on(site: Site, look: Look) -> None:
    await evaluate(site.database, "VEH-001", datetime.now(UTC))
    await site.start()
    assert site.process
    async with look() as viewer:
        await viewer.open()
        await sees_current_numbers(viewer, "1")
        await viewer.has_all_answers()
        site.process.suspend()
        await sees_old_numbers(viewer, "nothing for ten seconds", "No updates, reconnecting")
        site.process.resume()
        await sees_current_numbers(viewer, "1")
        viewer.is_content()


async def test_the_database_is_away_and_comes_back(site: Site, look: Look) -> None:
    await evaluate(site.database, "VEH-001", datetime.now(UTC))
    await site.start()
    async with look() as viewer:
        await viewer.open()
        await sees_current_numbers(viewer, "1")
        await site.database.execute("REVOKE SELECT ON vehicle_efficiency FROM energy_reader")
        await sees_old_numbers(viewer, "its database does not", "Database unavailable")
        await site.database.execute("GRANT SELECT ON vehicle_efficiency TO energy_reader")
        await sees_current_numbers(viewer, "1")


async def test_the_evaluation_has_stopped(site: Site, look: Look) -> None:
    await evaluate(site.database, "VEH-001", datetime.now(UTC) - timedelta(minutes=10))
    await site.start()
    async with look() as viewer:
        await viewer.open()
        await expect(viewer.find("#banner.on .says")).to_contain_text("have not been evaluated since")
        await expect(viewer.find("#pulse .says")).to_have_text("Stale")
        await site.database.execute("UPDATE vehicle_efficiency SET window_end = now()")
        await sees_current_numbers(viewer, "1")
        viewer.is_content()
