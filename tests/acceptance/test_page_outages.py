"""The web page during outages: it shows the cause, marks the last numbers as old, and recovers by itself."""

from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import expect

from tests.support.browser import OpenTab, Site, Tab
from tests.support.database_rows import insert_evaluation

pytestmark = pytest.mark.anyio


async def expect_current_numbers(tab: Tab, vehicles: str) -> None:
    await expect(tab.find("#pulse .says")).to_have_text("Live")
    await expect(tab.find("#window")).to_contain_text(f"{vehicles} vehicles evaluated")
    await expect(tab.find("#banner.on")).to_have_count(0)
    await expect(tab.find(".old:visible")).to_have_count(0)


async def expect_old_numbers(tab: Tab, cause: str, pulse: str) -> None:
    await expect(tab.find("#banner.on .says")).to_contain_text(cause)
    await expect(tab.find("#banner.on .says")).to_contain_text("The numbers on this page are outdated")
    await expect(tab.find("#pulse .says")).to_have_text(pulse)
    await expect(tab.find("#summary .old")).to_be_visible()
    await expect(tab.value("totalEnergyConsumedAc")).to_have_text("100.0 kWh")


async def test_the_page_recovers_when_the_service_is_restarted(site: Site, open_tab: OpenTab) -> None:
    await insert_evaluation(site.database, "VEH-001", datetime.now(UTC))
    await site.start()
    async with open_tab() as tab:
        await tab.open()
        await expect_current_numbers(tab, "1")
        site.stop()
        await expect_old_numbers(tab, "The service does not respond.", "Disconnected, reconnecting")
        await insert_evaluation(site.database, "VEH-002", datetime.now(UTC))
        await site.start()
        await expect_current_numbers(tab, "2")
        await expect(tab.vehicles()).to_have_count(2)


async def test_the_page_recovers_when_a_frozen_service_continues(site: Site, open_tab: OpenTab) -> None:
    await insert_evaluation(site.database, "VEH-001", datetime.now(UTC))
    await site.start()
    assert site.process
    async with open_tab() as tab:
        await tab.open()
        await expect_current_numbers(tab, "1")
        await tab.until_responses_complete()
        site.process.suspend()
        await expect_old_numbers(tab, "nothing for ten seconds", "No updates, reconnecting")
        site.process.resume()
        await expect_current_numbers(tab, "1")
        tab.has_no_complaints()


async def test_the_page_recovers_when_the_database_is_back(site: Site, open_tab: OpenTab) -> None:
    await insert_evaluation(site.database, "VEH-001", datetime.now(UTC))
    await site.start()
    async with open_tab() as tab:
        await tab.open()
        await expect_current_numbers(tab, "1")
        await site.database.execute("REVOKE SELECT ON evaluation_totals, vehicle_efficiency FROM energy_reader")
        await expect_old_numbers(tab, "its database does not", "Database unavailable")
        await site.database.execute("GRANT SELECT ON evaluation_totals, vehicle_efficiency TO energy_reader")
        await expect_current_numbers(tab, "1")


async def test_the_page_reports_that_evaluations_have_stopped(site: Site, open_tab: OpenTab) -> None:
    await insert_evaluation(site.database, "VEH-001", datetime.now(UTC) - timedelta(minutes=10))
    await site.start()
    async with open_tab() as tab:
        await tab.open()
        await expect(tab.find("#banner.on .says")).to_contain_text("have not been evaluated since")
        await expect(tab.find("#pulse .says")).to_have_text("Stale")
        await site.database.execute("UPDATE evaluation_totals SET window_end = now()")
        await expect_current_numbers(tab, "1")
        tab.has_no_complaints()
