"""Takes the picture of the sessions page for README: `python -m tests.browser.screenshot`."""

import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from tests.browser.person import Person, is_signed_in, rows
from tests.harness import mmdb
from tests.harness.browser import chromium
from tests.harness.servers import Product, product

PICTURE = Path(__file__).parent / "sessions-page.png"
AGENT = "Mozilla/5.0 ({}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 {}Safari/537.36"
PHONE = AGENT.format("Linux; Android 10; K", "Mobile ")
LAPTOP = AGENT.format("Windows NT 10.0; Win64; x64", "")
HOUR = 3600 * 1_000_000


def main() -> None:
    """Signs one person in on three devices, and takes the page as the first of them sees it."""
    with (
        tempfile.TemporaryDirectory() as folder,
        product(Path(folder) / "demo", extra=_places(Path(folder))) as world,
        chromium() as browser,
    ):
        laptop = _device(world, browser, LAPTOP, "203.0.113.7")
        laptop.sign_in_to(world.app_two)
        _name(laptop.sessions_page(), "Work laptop")
        _age(world, begun=26, rested=3)
        phone = _device(world, browser, PHONE, "198.51.100.23")
        phone.sign_in_to(world.app_one)
        _age(world, begun=5, rested=1)
        here = Person(
            world,
            browser.new_context(
                viewport={"width": 1000, "height": 800},
                device_scale_factor=2,
                locale="en-GB",
                extra_http_headers={"X-Forwarded-For": "203.0.113.7"},
            ),
        )
        here.sign_in_to(world.app_one)
        is_signed_in(here.open_app(world.app_two))
        page = here.sessions_page()
        expect(rows(page)).to_have_count(3)
        page.screenshot(path=PICTURE, full_page=True)
    print(PICTURE)


def _places(folder: Path) -> dict[str, str]:
    """Settings by which devices are where they say they are, and two networks are known."""
    cities = {
        "203.0.113.0/24": mmdb.city("Lyon", "FR") | mmdb.network(64496, "Orange"),
        "198.51.100.0/24": mmdb.city(None, "FR") | mmdb.network(64497, "Bouygues Telecom"),
    }
    mmdb.write(folder / "cities.mmdb", cities)
    return {"IDP_GEO__FOLDER": str(folder), "IDP_TRUSTED_PROXIES": '["127.0.0.0/8", "::1/128"]'}


def _device(world: Product, browser: Browser, agent: str, address: str) -> Person:
    headers = {"X-Forwarded-For": address}
    return Person(world, browser.new_context(user_agent=agent, extra_http_headers=headers))


def _name(page: Page, name: str) -> None:
    row = page.locator("li.row.current")
    row.locator("a.rename").click()
    row.get_by_label("Name", exact=True).fill(name)
    row.get_by_role("button", name="Save").click()
    expect(row.locator("h2")).to_contain_text(name)


def _age(world: Product, *, begun: int, rested: int) -> None:
    """As if the sessions so far had begun and rested so many hours ago; they go on living."""
    now = time.time_ns() // 1000
    world.execute(
        "UPDATE sessions SET created_at = ?, auth_time = ?, last_active_at = ?, idle_at = ?, "
        "expires_at = ? WHERE last_active_at > ?",
        now - begun * HOUR,
        now - begun * HOUR,
        now - rested * HOUR,
        now + HOUR,
        now + 12 * HOUR,
        now - HOUR // 2,
    )


if __name__ == "__main__":
    main()
