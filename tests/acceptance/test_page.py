"""The web page in a real browser, on the real service: what it shows, and that anyone can use it."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import httpx
import pytest
from playwright.async_api import expect

from tests.support.arrange import assign
from tests.support.browser import Look, Site, some_vehicles
from tests.support.records import meter, vehicle
from tests.support.services import Group

pytestmark = pytest.mark.anyio
DAY = timedelta(minutes=1435)


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


async def test_the_page_and_its_files_are_served_with_care(site: Site) -> None:
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
        for nothing in ("app.py", "..%2Fapp.py", "%2e%2e/app.py", "index.html"):
            assert (await client.get(f"/assets/{nothing}")).status_code == 404


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_loads_whole_asks_nobody_else_and_breaks_no_rule(site: Site, look: Look, scheme: str) -> None:
    await some_vehicles(site.database, now())
    await site.start()
    async with look(color_scheme=scheme) as viewer:
        await viewer.open()
        await expect(viewer.find("#pulse .says")).to_have_text("Live")
        await expect(viewer.value("live.vehicles")).to_have_text("4")
        await expect(viewer.value("openFaults")).to_have_text("1")
        await expect(viewer.vehicles()).to_have_count(5)
        await expect(viewer.find("#faults li")).to_contain_text("VEH-003 ✖ open since")
        histogram = viewer.find("#distribution .plot")
        await expect(histogram).to_have_attribute(
            "aria-label", re.compile("4 vehicles are assessed.* lowest are at 70 to 72 %")
        )
        await histogram.locator(".point path").nth(11).hover(force=True)
        await expect(histogram.locator(".hoverlayer")).to_contain_text("70 to 72 %: 1 vehicle")
        await viewer.find("#distribution summary").click()
        await expect(viewer.find("#distribution tbody tr")).to_have_text(
            ["70 to 72 %1", "88 to 90 %1", "92 to 94 %1", "94 to 96 %1"]
        )
        viewer.is_content()


async def test_an_empty_fleet_is_told_what_to_do_and_a_reading_shows_without_reloading(
    site: Site, look: Look, group: Group
) -> None:
    await site.start()
    group.start()
    async with look() as viewer:
        await viewer.open()
        await expect(viewer.find("#empty")).to_be_visible()
        await expect(viewer.find("#empty-command")).to_contain_text(f"{site.address}/v1/ingestion/vehicle")
        await expect(viewer.find("#summary")).to_be_hidden()

        await site.produce(vehicles=[vehicle("VEH-001", now() - timedelta(seconds=30), soc=40)])

        await expect(viewer.value("live.vehiclesReporting")).to_have_text("1")
        await expect(viewer.find("#empty")).to_be_hidden()
        await expect(viewer.find("#vehicles .note")).to_contain_text("No vehicle has been evaluated yet")

        await viewer.page.evaluate("location.hash = '#/vehicle/VEH-001'")
        await expect(viewer.value("soc")).to_have_text("40 %")
        viewer.is_content()
        await viewer.page.route("**/v1/vehicles/VEH-001", lambda route: route.abort())  # the stream alone can tell
        await site.produce(vehicles=[vehicle("VEH-001", now() - timedelta(seconds=1), soc=41)])
        await expect(viewer.value("soc")).to_have_text("41 %")
        await expect(viewer.value("dataPoints")).to_have_text("2")


async def test_the_vehicles_are_searched_filtered_sorted_and_paged_by_the_server(site: Site, look: Look) -> None:
    await some_vehicles(site.database, now())
    await site.start()
    async with look() as viewer:
        await viewer.open()
        ids = viewer.vehicles()
        await expect(ids).to_have_text(["VEH-003", "VEH-002", "VEH-001", "CAR-9", "VEH-004"])
        row = viewer.find("#vehicles tbody tr").first
        await expect(row).to_contain_text("71.25 %")
        await expect(row).to_contain_text("✖ Faulty fault open")

        await viewer.find("[data-sort=energyAc] button").click()
        await expect(ids).to_have_text(["VEH-001", "VEH-002", "VEH-003", "CAR-9", "VEH-004"])
        await viewer.find("[data-sort=energyAc] button").click()
        await expect(ids).to_have_text(["CAR-9", "VEH-003", "VEH-002", "VEH-001", "VEH-004"])
        await expect(viewer.find("[data-sort=energyAc]")).to_have_attribute("aria-sort", "descending")
        await expect(viewer.find("[data-sort=efficiency]")).to_have_attribute("aria-sort", "none")

        await viewer.find("[name=search]").fill("veh-00")
        await expect(ids).to_have_text(["VEH-003", "VEH-002", "VEH-001", "VEH-004"])
        await expect(viewer.find(".found")).to_have_text("4 found")
        await viewer.find("#statuses button", has_text="Degraded").click()
        await expect(ids).to_have_text(["VEH-002"])
        await expect(viewer.find("[name=status]")).to_be_focused()
        await viewer.find("[name=search]").fill("nobody")
        await expect(viewer.find("#vehicles .note")).to_have_text("No vehicle matches.")

        await viewer.page.reload()  # the choice is in the address
        await expect(viewer.find("[name=search]")).to_have_value("nobody")
        await viewer.open("#/?search=car")
        await expect(ids).to_have_text(["CAR-9"])
        viewer.is_content()


async def test_a_vehicles_day_is_what_the_api_says(site: Site, look: Look, group: Group) -> None:
    await assign(site.database, "VEH-001", "METER-001")
    await site.start()
    group.start()
    first = now() - DAY
    minutes = [(first + timedelta(minutes=number), 0.01 + number % 7 / 100) for number in range(1434)]
    await site.produce(
        meters=[meter(at=at, kwh=kwh) for at, kwh in minutes],
        vehicles=[
            vehicle(at=at, kwh=kwh * 0.93, soc=20 + number % 60, batteryTemp=20 + number % 9)
            for number, (at, kwh) in enumerate(minutes)
        ],
    )
    await site.until_consumed(2 * len(minutes))
    async with look(timezone_id="Asia/Kolkata") as viewer:
        await viewer.open("#/vehicle/VEH-001")
        await expect(viewer.value("dataPoints")).to_have_text("1,434")
        await expect(viewer.value("coverage.ac")).to_have_text("99.5 %")
        said = await site.ask("/v1/analytics/performance/VEH-001")
        for name in ("totalEnergyConsumedAc", "totalEnergyDeliveredDc", "efficiencyRatio", "averageBatteryTemp"):
            shown = float(await viewer.value(name).get_attribute("value") or "")
            assert shown == pytest.approx(said[name], rel=1e-9), name
        await expect(viewer.value("efficiencyRatio")).to_have_text("93.00 %")
        await expect(viewer.value("totalEnergyConsumedAc")).to_have_text(f"{said['totalEnergyConsumedAc']:.2f} kWh")
        await expect(viewer.find(".verdict")).to_have_text("● Healthy 93 % is at or above 90 %")

        last = minutes[-1][0]
        recorded = viewer.find("time[data-field=recordedAt]")
        await expect(recorded).to_have_attribute("title", f"{last:%Y-%m-%d %H:%M:%S} UTC")
        await expect(recorded).to_contain_text(f"{last.astimezone(ZoneInfo('Asia/Kolkata')):%H:%M}")

        in_words = re.compile(
            f"In, AC: {said['totalEnergyConsumedAc']:.2f} kWh.*out, DC: {said['totalEnergyDeliveredDc']:.2f} kWh"
        )
        await expect(viewer.find("#energy .plot")).to_have_attribute("aria-label", in_words)

        await viewer.find("[data-step='-1']").click()
        await expect(viewer.value("dataPoints")).to_have_text("0")
        await expect(viewer.find("#battery .note")).to_have_text("The vehicle sent no reading in these 24 hours.")
        await viewer.find("[data-step='0']").click()
        await expect(viewer.value("dataPoints")).to_have_text("1,434")
        viewer.is_content()
