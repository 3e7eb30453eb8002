"""The web page in a real browser, on the real service: what it loads and what it shows."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import httpx
import pytest
from playwright.async_api import expect

from tests.support.browser import OpenTab, Site, insert_vehicles
from tests.support.database_rows import insert_assignment
from tests.support.ledger import until_consumed
from tests.support.records import meter, vehicle
from tests.support.services import ConsumerGroup

pytestmark = pytest.mark.anyio
DAY = timedelta(minutes=1435)


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


async def test_the_page_and_its_assets_have_safe_headers_and_are_cached_and_compressed(site: Site) -> None:
    await site.start()
    async with httpx.AsyncClient(base_url=site.address) as client:
        page = await client.get("/")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "script-src 'self';" in page.headers["content-security-policy"]
        assert "unsafe" not in page.headers["content-security-policy"]
        assert page.headers["x-content-type-options"] == "nosniff"
        assert page.headers["referrer-policy"] == "no-referrer"
        for name, media_type in {
            "main.js": "text/javascript",
            "style.css": "text/css",
            "icon.svg": "image/svg+xml",
        }.items():
            assert (await client.get(f"/assets/{name}")).headers["content-type"].startswith(media_type)
        plotly = await client.get("/assets/plotly.min.js")
        assert int(plotly.headers["content-length"]) < 2_000_000 < len(plotly.content)
        plain = await client.get("/assets/plotly.min.js", headers={"accept-encoding": "identity"})
        assert plain.content == plotly.content
        again = await client.get("/assets/plotly.min.js", headers={"if-none-match": plotly.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        for missing in ("app.py", "..%2Fapp.py", "%2e%2e/app.py", "index.html"):
            assert (await client.get(f"/assets/{missing}")).status_code == 404


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_page_loads_completely_from_this_service_alone(site: Site, open_tab: OpenTab, scheme: str) -> None:
    await insert_vehicles(site.database, now())
    await site.start()
    async with open_tab(color_scheme=scheme) as tab:
        await tab.open()
        await expect(tab.find("#pulse .says")).to_have_text("Live")
        await expect(tab.value("live.vehicles")).to_have_text("4")
        await expect(tab.value("openFaults")).to_have_text("1")
        await expect(tab.vehicles()).to_have_count(5)
        await expect(tab.find("#faults li")).to_contain_text("VEH-003 ✖ open since")
        histogram = tab.find("#distribution .plot")
        await expect(histogram).to_have_attribute(
            "aria-label", re.compile("4 vehicles are assessed.* lowest are at 70 to 72 %")
        )
        await histogram.locator(".point path").nth(11).hover(force=True)
        await expect(histogram.locator(".hoverlayer")).to_contain_text("70 to 72 %: 1 vehicle")
        await tab.find("#distribution summary").click()
        await expect(tab.find("#distribution tbody tr")).to_have_text(
            ["70 to 72 %1", "88 to 90 %1", "92 to 94 %1", "94 to 96 %1"]
        )
        tab.has_no_complaints()


async def test_an_empty_fleet_shows_a_command_and_then_readings_without_reloading(
    site: Site, open_tab: OpenTab, group: ConsumerGroup
) -> None:
    await site.start()
    group.start()
    async with open_tab() as tab:
        await tab.open()
        await expect(tab.find("#empty")).to_be_visible()
        await expect(tab.find("#empty-command")).to_contain_text(f"{site.address}/v1/ingestion/vehicle")
        await expect(tab.find("#summary")).to_be_hidden()

        await site.produce(vehicles=[vehicle("VEH-001", now() - timedelta(seconds=30), soc=40)])

        await expect(tab.value("live.vehiclesReporting")).to_have_text("1")
        await expect(tab.find("#empty")).to_be_hidden()
        await expect(tab.find("#vehicles .note")).to_contain_text("No vehicle has been evaluated yet")

        await tab.page.evaluate("location.hash = '#/vehicle/VEH-001'")
        await expect(tab.value("soc")).to_have_text("40 %")
        tab.has_no_complaints()
        await tab.page.route(
            "**/v1/vehicles/VEH-001", lambda route: route.abort()
        )  # only the event stream can deliver it
        await site.produce(vehicles=[vehicle("VEH-001", now() - timedelta(seconds=1), soc=41)])
        await expect(tab.value("soc")).to_have_text("41 %")
        await expect(tab.value("dataPoints")).to_have_text("2")


async def test_the_vehicles_are_searched_filtered_sorted_and_paged_by_the_server(site: Site, open_tab: OpenTab) -> None:
    await insert_vehicles(site.database, now())
    await site.start()
    async with open_tab() as tab:
        await tab.open()
        ids = tab.vehicles()
        await expect(ids).to_have_text(["VEH-003", "VEH-002", "VEH-001", "CAR-9", "VEH-004"])
        row = tab.find("#vehicles tbody tr").first
        await expect(row).to_contain_text("71.25 %")
        await expect(row).to_contain_text("✖ Faulty fault open")

        await tab.find("[data-sort=energyAc] button").click()
        await expect(ids).to_have_text(["VEH-001", "VEH-002", "VEH-003", "CAR-9", "VEH-004"])
        await tab.find("[data-sort=energyAc] button").click()
        await expect(ids).to_have_text(["CAR-9", "VEH-003", "VEH-002", "VEH-001", "VEH-004"])
        await expect(tab.find("[data-sort=energyAc]")).to_have_attribute("aria-sort", "descending")
        await expect(tab.find("[data-sort=efficiency]")).to_have_attribute("aria-sort", "none")

        await tab.find("[name=search]").fill("veh-00")
        await expect(ids).to_have_text(["VEH-003", "VEH-002", "VEH-001", "VEH-004"])
        await expect(tab.find(".found")).to_have_text("4 found")
        await tab.find("#statuses button", has_text="Degraded").click()
        await expect(ids).to_have_text(["VEH-002"])
        await expect(tab.find("[name=status]")).to_be_focused()
        await tab.find("[name=search]").fill("nobody")
        await expect(tab.find("#vehicles .note")).to_have_text("No vehicle matches.")

        await tab.page.reload()  # the filters are in the URL
        await expect(tab.find("[name=search]")).to_have_value("nobody")
        await tab.open("#/?search=car")
        await expect(ids).to_have_text(["CAR-9"])
        tab.has_no_complaints()


async def produce_a_day(site: Site) -> datetime:
    """A reading of a meter and a vehicle for every minute of the last day but six. Returns the time of the last ones."""
    first = now() - DAY
    minutes = [(first + timedelta(minutes=number), 0.01 + number % 7 / 100) for number in range(1434)]
    await site.produce(
        meters=[meter(at=at, kwh=kwh) for at, kwh in minutes],
        vehicles=[
            vehicle(at=at, kwh=kwh * 0.93, soc=20 + number % 60, batteryTemp=20 + number % 9)
            for number, (at, kwh) in enumerate(minutes)
        ],
    )
    await until_consumed(site.database, None, 2 * len(minutes))
    return minutes[-1][0]


async def test_the_day_of_a_vehicle_shows_the_values_of_the_api(
    site: Site, open_tab: OpenTab, group: ConsumerGroup
) -> None:
    await insert_assignment(site.database, "VEH-001", "METER-001")
    await site.start()
    group.start()
    last = await produce_a_day(site)
    async with open_tab(timezone_id="Asia/Kolkata") as tab:
        await tab.open("#/vehicle/VEH-001")
        await expect(tab.value("dataPoints")).to_have_text("1,434")
        await expect(tab.value("coverage.ac")).to_have_text("99.5 %")
        performance = await site.get_json("/v1/analytics/performance/VEH-001")
        for name in ("totalEnergyConsumedAc", "totalEnergyDeliveredDc", "efficiencyRatio", "averageBatteryTemp"):
            shown = float(await tab.value(name).get_attribute("value") or "")
            assert shown == pytest.approx(performance[name], rel=1e-9), name
        await expect(tab.value("efficiencyRatio")).to_have_text("93.00 %")
        await expect(tab.value("totalEnergyConsumedAc")).to_have_text(f"{performance['totalEnergyConsumedAc']:.2f} kWh")
        await expect(tab.find(".verdict")).to_have_text("● Healthy 93 % is at or above 90 %")

        recorded = tab.find("time[data-field=recordedAt]")
        await expect(recorded).to_have_attribute("title", f"{last:%Y-%m-%d %H:%M:%S} UTC")
        await expect(recorded).to_contain_text(f"{last.astimezone(ZoneInfo('Asia/Kolkata')):%H:%M}")

        description = re.compile(
            f"In, AC: {performance['totalEnergyConsumedAc']:.2f} kWh.*out, DC: {performance['totalEnergyDeliveredDc']:.2f} kWh"
        )
        await expect(tab.find("#energy .plot")).to_have_attribute("aria-label", description)

        await tab.find("[data-step='-1']").click()
        await expect(tab.value("dataPoints")).to_have_text("0")
        await expect(tab.find("#battery .note")).to_have_text("The vehicle sent no reading in these 24 hours.")
        await tab.find("[data-step='0']").click()
        await expect(tab.value("dataPoints")).to_have_text("1,434")
        tab.has_no_complaints()
