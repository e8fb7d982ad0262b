"""A real Chromium for tests, and what they watch in it."""

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.harness.available import chromium_path

# Milliseconds for what a page does by itself, on a machine that is busy with other tests.
PATIENCE = 30_000
expect.set_options(timeout=PATIENCE)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A camera that shows a test picture; who may use it is asked for as ever.
    "--use-fake-device-for-media-stream",
]


@contextmanager
def chromium() -> Iterator[Browser]:
    """A Chromium without a window; each `new_context()` is a separate person's browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


class Watch:
    """Notes what a page complains of: violations of its policy, errors of its scripts.

    That an answer has a status of 400 or above is no complaint: some pages are meant to have one.
    """

    def __init__(self, page: Page, complaints: list[str]) -> None:
        self._complaints = complaints
        page.on("console", self._console)
        page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type not in ("error", "warning"):
            return
        if message.text.startswith("Failed to load resource: the server responded with"):
            return
        self._complaints.append(f"{message.text} ({message.location['url']})")
