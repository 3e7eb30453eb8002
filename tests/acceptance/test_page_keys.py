"""The web page where keys are asked for: it asks, says what is wrong with one, and works with a good one."""

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
    """The service asks for these."""
    made = KeyFile(tmp_path / "keys.json")
    site.environment.update(made.settings)
    return made


async def enter(tab: Tab, secret: str) -> None:
    await tab.find("#key-view input").fill(secret)
    await tab.find("#key-view button").click()


async def test_the_page_asks_for_a_key_and_works_with_it(site: Site, open_tab: OpenTab, keys: KeyFile) -> None:
    reader, sender = keys.add(Scope.READ), keys.add(Scope.INGEST)
    await insert_vehicles(site.database, datetime.now(UTC))
    await site.start()
    async with open_tab() as tab:
        await tab.open()
        await expect(tab.find("#key-view h1")).to_have_text("An API key is needed")
        await expect(tab.find("#fleet-view")).to_be_hidden()
        await expect(tab.find("#key-view [role=alert]")).to_have_text("")

        for wrong, says in (
            (reader[:-1] + "~", "not known"),
            (sender, "lacks the scope read"),
            ("schlüssel", "no API key"),
        ):
            await enter(tab, wrong)
            await expect(tab.find("#key-view [role=alert]")).to_contain_text(says)
            await expect(tab.find("#fleet-view")).to_be_hidden()

        tab.complaints.clear()  # a browser itself writes every 401 and 403 into its console
        await enter(tab, reader)
        await expect(tab.find("#key-view")).to_be_hidden()
        await expect(tab.find("#pulse .says")).to_have_text("Live")
        await expect(tab.vehicles()).to_have_count(5)
        await expect(tab.find("#open-access")).to_be_hidden()

        await tab.page.reload()
        await expect(tab.vehicles()).to_have_count(5)
        await expect(tab.find("#key-view")).to_be_hidden()
        tab.has_no_complaints()
        assert [address for address in tab.requested if "energy_" in address or id_of(reader) in address] == []


async def test_a_key_that_is_revoked_locks_the_page_until_there_is_another(
    site: Site, open_tab: OpenTab, keys: KeyFile
) -> None:
    first, second = keys.add(Scope.READ), keys.add(Scope.READ)
    await insert_vehicles(site.database, datetime.now(UTC))
    await site.start()
    async with open_tab() as tab:
        await tab.open()
        await enter(tab, first)
        await expect(tab.vehicles()).to_have_count(5)
        keys.succeed("revoke", id_of(first))
        await expect(tab.find("#key-view [role=alert]")).to_contain_text("not known here")
        await expect(tab.find("#pulse .says")).to_have_text("Key needed")
        await enter(tab, second)
        await expect(tab.find("#pulse .says")).to_have_text("Live")
        await expect(tab.find(".old:visible")).to_have_count(0)


async def test_the_page_says_that_access_is_open(site: Site, open_tab: OpenTab) -> None:
    await site.start()
    async with open_tab() as tab:
        await tab.open()
        await expect(tab.find("#open-access")).to_contain_text("Access is open")
        await expect(tab.find("#key-view")).to_be_hidden()
        tab.has_no_complaints()
