"""The documents of the API in a browser: whole, from this service alone, and a route can be tried with a key."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.async_api import expect

from api.auth.api_keys import Scope
from tests.support.browser import Look, Site, some_vehicles
from tests.support.keyfile import KeyFile

pytestmark = pytest.mark.anyio


async def test_the_documents_are_shown_and_a_route_is_tried_with_a_key(site: Site, look: Look, tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    key = keys.add(Scope.READ)
    site.environment.update(keys.settings)
    await some_vehicles(site.database, datetime.now(UTC))
    await site.start()
    described = await site.ask("/openapi.json")
    async with look() as viewer:
        await viewer.open("docs")
        await expect(viewer.find(".info .title")).to_contain_text(described["info"]["title"])
        operations = sum(len(methods) for methods in described["paths"].values())
        await expect(viewer.find(".opblock")).to_have_count(operations)

        await viewer.find(".auth-wrapper .authorize").click()
        await viewer.find(".auth-container", has_text="bearer").locator("input").fill(key)
        await viewer.find(".auth-container", has_text="bearer").get_by_role("button", name="Apply credentials").click()
        await viewer.find(".btn-done").first.click()
        operation = viewer.find(".opblock", has=viewer.find("[data-path='/v1/vehicles/{vehicleId}']"))
        await operation.locator(".opblock-summary-control").click()
        await operation.get_by_role("button", name="Try it out").click()
        await operation.locator("input[placeholder=vehicleId]").fill("VEH-001")
        await operation.get_by_role("button", name="Execute").click()
        await expect(
            operation.locator(".live-responses-table td.response-col_status:not(.col_header)")
        ).to_contain_text("200")
        await expect(operation.locator(".live-responses-table code").first).to_contain_text('"vehicleId": "VEH-001"')
        viewer.is_content()
