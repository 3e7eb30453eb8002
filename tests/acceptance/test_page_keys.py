"""The web page with API keys required: it asks for one, explains what is wrong with it, and works with a valid one."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.async_api import expect

from api.auth.api_keys import Scope
from tests.support.browser import OpenTab, Site, Tab, insert_vehicles
from tests.support.key_file import KeyFile, id_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def keys(site: Site, tmp_path: Path) -> KeyFile:
    """The keys that the service requires."""
    file = KeyFile(tmp_path / "keys.json")
    site.environment.update(file.settings)
    return file


async def enter_key(tab: Tab, secret: str) -> None:
    await tab.find("#key-view input").fill(secret)
    await tab.find("#key-view button").click()


async def test_the_page_asks_for_a_key_and_loads_with_it(site: Site, open_tab: OpenTab, keys: KeyFile) -> None:
    reader, sender = keys.add(Scope.READ), keys.add(Scope.INGEST)
    await insert_vehicles(site.database, datetime.now(UTC))
    await site.start()
    async with open_tab() as tab:
        await tab.open()
        await expect(tab.find("#key-view h1")).to_have_text("An API key is required")
        await expect(tab.find("#fleet-view")).to_be_hidden()
        await expect(tab.find("#key-view [role=alert]")).to_have_text("")

        for wrong, message in (
            (reader[:-1] + "~", "not known"),
            (sender, "lacks the scope read"),
            ("schlüssel", "not an API key"),
        ):
            await enter_key(tab, wrong)
            await expect(tab.find("#key-view [role=alert]")).to_contain_text(message)
            await expect(tab.find("#fleet-view")).to_be_hidden()

        tab.complaints.clear()  # browsers log every 401 and 403 to the console
        await enter_key(tab, reader)
        await expect(tab.find("#key-view")).to_be_hidden()
        await expect(tab.find("#pulse .says")).to_have_text("Live")
        await expect(tab.vehicles()).to_have_count(5)
        await expect(tab.find("#open-access")).to_be_hidden()

        await tab.page.reload()
        await expect(tab.vehicles()).to_have_count(5)
        await expect(tab.find("#key-view")).to_be_hidden()
        tab.has_no_complaints()
        assert [address for address in tab.requested if "energy_" in address or id_of(reader) in address] == []


async def test_a_revoked_key_locks_the_page_until_another_is_entered(
    site: Site, open_tab: OpenTab, keys: KeyFile
) -> None:
    first, second = keys.add(Scope.READ), keys.add(Scope.READ)
    await insert_vehicles(site.database, datetime.now(UTC))
    await site.start()
    async with open_tab() as tab:
        await tab.open()
        await enter_key(tab, first)
        await expect(tab.vehicles()).to_have_count(5)
        keys.succeed("revoke", id_of(first))
        await expect(tab.find("#key-view [role=alert]")).to_contain_text("is not known")
        await expect(tab.find("#pulse .says")).to_have_text("API key required")
        await enter_key(tab, second)
        await expect(tab.find("#pulse .says")).to_have_text("Live")
        await expect(tab.find(".old:visible")).to_have_count(0)


async def test_the_page_shows_that_access_is_open(site: Site, open_tab: OpenTab) -> None:
    await site.start()
    async with open_tab() as tab:
        await tab.open()
        await expect(tab.find("#open-access")).to_contain_text("Access is open")
        await expect(tab.find("#key-view")).to_be_hidden()
        tab.has_no_complaints()
