"""The web page under demanding use: ten thousand vehicles, a phone, keyboard only, malicious names."""

from datetime import UTC, datetime

import pytest
from playwright.async_api import expect

from tests.support.browser import OpenTab, Site, insert_vehicles
from tests.support.database_rows import insert_evaluation, update_fleet_totals
from tests.support.records import vehicle
from tests.support.services import ConsumerGroup

pytestmark = pytest.mark.anyio
PHONE = {"width": 360, "height": 740}


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


async def test_names_are_shown_as_text_and_never_executed(site: Site, open_tab: OpenTab) -> None:
    evil = "<img src=x onerror=document.title='run'>"
    await insert_evaluation(site.database, evil, now(), reason=evil)
    await site.start()
    async with open_tab() as tab:
        await tab.open()
        await expect(tab.vehicles()).to_have_text([evil])
        await tab.vehicles().first.click()
        await expect(tab.find("#vehicle-view h1")).to_have_text(evil)
        await expect(tab.find("#performance .note")).to_contain_text("a device id is")
        await expect(tab.find("main img")).to_have_count(0)
        assert await tab.page.title() == f"{evil} · Energy telemetry"


async def test_ten_thousand_vehicles_are_paged_and_searched(site: Site, open_tab: OpenTab) -> None:
    await site.database.execute(
        "INSERT INTO vehicle_efficiency SELECT 'VEH-' || number, now(), 86400, 40, 37, 37, 1440, 1440, 1440, 25, "
        "75 + number % 2300 / 100.0, 1, 1, CASE WHEN number % 2300 < 1000 THEN 'faulty' ELSE 'healthy' END, 'why' "
        "FROM generate_series(1, 10000) AS number"
    )
    await site.database.execute(
        "INSERT INTO vehicle_live_status SELECT 'VEH-' || number, 50, 0.1, 25, now(), now() "
        "FROM generate_series(1, 10000) AS number"
    )
    await update_fleet_totals(site.database)
    await site.start()
    async with open_tab() as tab:
        await tab.open()
        await expect(tab.find("#vehicles .pager span")).to_have_text("1 to 25 of 10,000")
        await expect(tab.value("live.vehicles")).to_have_text("10,000")
        await tab.find("#vehicles .pager button", has_text="Next").click()
        await expect(tab.find("#vehicles .pager span")).to_have_text("26 to 50 of 10,000")
        await expect(tab.vehicles()).to_have_count(25)
        await tab.find("[name=search]").fill("veh-9876")
        await expect(tab.vehicles()).to_have_text(["VEH-9876"])
        await tab.find("[name=search]").fill("veh")
        await expect(tab.find("#vehicles .found")).to_have_text("5,000 or more found")
        await expect(tab.find("#vehicles .pager span")).to_have_text("1 to 25 of 5,000 or more")
        assert await tab.find("*").count() < 2000
        tab.has_no_complaints()


@pytest.mark.parametrize("path", ["", "#/vehicle/VEH-003"])
async def test_a_phone_never_scrolls_sideways(site: Site, open_tab: OpenTab, group: ConsumerGroup, path: str) -> None:
    await insert_vehicles(site.database, now())
    await site.start()
    group.start()
    await site.produce(vehicles=[vehicle("VEH-003", now())])
    async with open_tab(viewport=PHONE) as tab:
        await tab.open(path)
        await expect(tab.find(".js-plotly-plot:visible").first).to_be_visible()
        await expect(tab.find("[aria-busy]")).to_have_count(0)
        assert await tab.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        tab.has_no_complaints()


async def test_a_vehicle_is_found_and_opened_with_the_keyboard_only(site: Site, open_tab: OpenTab) -> None:
    await insert_vehicles(site.database, now())
    await site.start()
    async with open_tab() as tab:
        await tab.open()
        await expect(tab.vehicles()).to_have_count(5)
        keyboard = tab.page.keyboard
        await keyboard.press("Tab")
        await expect(tab.find(".skip")).to_be_focused()
        await keyboard.press("Enter")
        await expect(tab.find("main")).to_be_focused()
        for _ in range(60):
            await keyboard.press("Tab")
            if await tab.page.evaluate("document.activeElement.name") == "search":
                break
        await keyboard.type("003")
        await expect(tab.vehicles()).to_have_text(["VEH-003"])
        for _ in range(30):
            await keyboard.press("Tab")
            if await tab.page.evaluate("document.activeElement.textContent") == "VEH-003":
                break
        await keyboard.press("Enter")
        await expect(tab.find("#vehicle-view h1")).to_have_text("VEH-003")
        await expect(tab.find("#vehicle-view h1")).to_be_focused()
        await tab.page.go_back()
        await expect(tab.vehicles().first).to_be_focused()
        tab.has_no_complaints()
