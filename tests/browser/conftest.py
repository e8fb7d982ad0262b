"""The running product and a real Chromium, and what a person does with them."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.browser.person import NativeApp, Person
from tests.harness.browser import chromium
from tests.harness.servers import Product, product


@pytest.fixture(scope="session")
def running_product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with product(tmp_path_factory.mktemp("product")) as running:
        yield running


@pytest.fixture
def world(running_product: Product) -> Product:
    """The running product, with nobody signed in and nothing consented to."""
    for table in ("sessions", "consents", "throttles"):
        running_product.execute(f"DELETE FROM {table}")
    return running_product


# Not for the whole session: while it is open, its event loop counts as running in this thread, and
# tests elsewhere could not start one of their own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def people(world: Product, browser: Browser) -> Iterator["People"]:
    """Browsers of people; at the end none of them may have complained of a page."""
    made = People(world, browser)
    try:
        yield made
        assert made.complaints() == []
    finally:
        made.close()


@pytest.fixture
def alice(people: "People") -> Person:
    return people.new()


@pytest.fixture
def native_app() -> Iterator[NativeApp]:
    made = NativeApp()
    yield made
    made.close()


class People:
    """Makes browsers that share nothing."""

    def __init__(self, world: Product, browser: Browser) -> None:
        self._world = world
        self._browser = browser
        self._made: list[Person] = []

    def new(self, **options: Any) -> Person:
        """A browser of its own: its cookies, and whatever `Browser.new_context` takes."""
        person = Person(self._world, self._browser.new_context(**options))
        self._made.append(person)
        return person

    def complaints(self) -> list[str]:
        return [complaint for person in self._made for complaint in person.complaints]

    def close(self) -> None:
        for person in self._made:
            person.context.close()
