"""The API documents at /docs in a browser: complete, served by this service alone, usable with a key."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.async_api import expect

from api.auth.api_keys import Scope
from tests.support.browser import OpenTab, Site, insert_vehicles
from tests.support.key_file import KeyFile

pytestmark = pytest.mark.anyio


async def test_the_documents_list_every_operation_and_execute_one_with_a_key(
    site: Site, open_tab: OpenTab, tmp_path: Path
) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    key = keys.add(Scope.READ)
    site.environment.update(keys.settings)
    await insert_vehicles(site.database, datetime.now(UTC))
    await site.start()
    document = await site.get_json("/openapi.json")
    async with open_tab() as tab:
        await tab.open("docs")
        await expect(tab.find(".info .title")).to_contain_text(document["info"]["title"])
        operations = sum(len(methods) for methods in document["paths"].values())
        await expect(tab.find(".opblock")).to_have_count(operations)

        await tab.find(".auth-wrapper .authorize").click()
        await tab.find(".auth-container", has_text="bearer").locator("input").fill(key)
        await tab.find(".auth-container", has_text="bearer").get_by_role("button", name="Apply credentials").click()
        await tab.find(".btn-done").first.click()
        operation = tab.find(".opblock", has=tab.find("[data-path='/v1/vehicles/{vehicleId}']"))
        await operation.locator(".opblock-summary-control").click()
        await operation.get_by_role("button", name="Try it out").click()
        await operation.locator("input[placeholder=vehicleId]").fill("VEH-001")
        await operation.get_by_role("button", name="Execute").click()
        await expect(
            operation.locator(".live-responses-table td.response-col_status:not(.col_header)")
        ).to_contain_text("200")
        await expect(operation.locator(".live-responses-table code").first).to_contain_text('"vehicleId": "VEH-001"')
        tab.has_no_complaints()
