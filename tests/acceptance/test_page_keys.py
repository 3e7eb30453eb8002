"""The web page where keys are asked for: it asks, says what is wrong with one, and works with a good one."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.async_api import expect

from api.auth.api_keys import Scope
from tests.support.browser import Look, Site, Viewer, some_vehicles
from tests.support.keyfile import KeyFile, id_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def keys(site: Site, tmp_path: Path) -> KeyFile:
    """The service asks for these."""
    made = KeyFile(tmp_path / "keys.json")
    site.environment.update(made.settings)
    return made


async def enter(viewer: Viewer, secret: str) -> None:
    await viewer.find("#key-view input").fill(secret)
    await viewer.find("#key-view button").click()


async def test_the_page_asks_for_a_key_and_works_with_it(site: Site, look: Look, keys: KeyFile) -> None:
    reader, sender = keys.add(Scope.READ), keys.add(Scope.INGEST)
    await some_vehicles(site.database, datetime.now(UTC))
    await site.start()
    async with look() as viewer:
        await viewer.open()
        await expect(viewer.find("#key-view h1")).to_have_text("An API key is required")
        await expect(viewer.find("#fleet-view")).to_be_hidden()
        await expect(viewer.find("#key-view [role=alert]")).to_have_text("")

        for wrong, says in (
            (reader[:-1] + "~", "not known"),
            (sender, "lacks the scope read"),
            ("schlüssel", "not an API key"),
        ):
            await enter(viewer, wrong)
            await expect(viewer.find("#key-view [role=alert]")).to_contain_text(says)
            await expect(viewer.find("#fleet-view")).to_be_hidden()

        viewer.complaints.clear()  # a browser itself writes every 401 and 403 into its console
        await enter(viewer, reader)
        await expect(viewer.find("#key-view")).to_be_hidden()
        await expect(viewer.find("#pulse .says")).to_have_text("Live")
        await expect(viewer.vehicles()).to_have_count(5)
        await expect(viewer.find("#open-access")).to_be_hidden()

        await viewer.page.reload()
        await expect(viewer.vehicles()).to_have_count(5)
        await expect(viewer.find("#key-view")).to_be_hidden()
        viewer.is_content()
        assert [address for address in viewer.asked if "energy_" in address or id_of(reader) in address] == []


async def test_a_key_that_is_revoked_locks_the_page_until_there_is_another(
    site: Site, look: Look, keys: KeyFile
) -> None:
    first, second = keys.add(Scope.READ), keys.add(Scope.READ)
    await some_vehicles(site.database, datetime.now(UTC))
    await site.start()
    async with look() as viewer:
        await viewer.open()
        await enter(viewer, first)
        await expect(viewer.vehicles()).to_have_count(5)
        keys.does("revoke", id_of(first))
        await expect(viewer.find("#key-view [role=alert]")).to_contain_text("not known here")
        await expect(viewer.find("#pulse .says")).to_have_text("API key required")
        await enter(viewer, second)
        await expect(viewer.find("#pulse .says")).to_have_text("Live")
        await expect(viewer.find(".old:visible")).to_have_count(0)


async def test_the_page_says_that_access_is_open(site: Site, look: Look) -> None:
    await site.start()
    async with look() as viewer:
        await viewer.open()
        await expect(viewer.find("#open-access")).to_contain_text("Access is open")
        await expect(viewer.find("#key-view")).to_be_hidden()
        viewer.is_content()
