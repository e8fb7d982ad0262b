"""Longer words, other letters and the other direction: nothing hangs over the edge of a page.

A pseudo-locale is made in the browser from the English page: every text gets accents and two fifths of
its length more, which is what German asks for at most; then the page is read from the right.
"""

from playwright.sync_api import Page, expect

from tests.browser.person import Person
from tests.harness.servers import Product

PSEUDO = """() => {
  const accented = { a: "á", e: "ë", i: "î", o: "ø", u: "ü", n: "ñ", c: "ç", s: "š", y: "ý" };
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = walk.nextNode(); text; text = walk.nextNode()) {
    const said = text.data.trim();
    if (!said || text.parentElement.closest("script, style, time, option")) continue;
    const more = "ő".repeat(Math.ceil(said.length * 0.4 / Math.max(said.split(" ").length, 1)));
    text.data = said.split(" ").map((word) =>
      [...word].map((letter) => accented[letter] ?? letter).join("") + more).join(" ");
  }
}"""
WIDTHS = (1000, 390, 320)


def require_fit(page: Page, name: str) -> None:
    """Sees that a page keeps within every width, as it is and read from the right."""
    for direction in ("ltr", "rtl"):
        page.evaluate("(direction) => { document.documentElement.dir = direction; }", direction)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 800})
            # Also what hangs out on the side where one cannot scroll to.
            over = page.evaluate(
                """(width) => [...document.querySelectorAll("body :is(h1, h2, h3, p, a, button, label,"
                  + " input, select, li, dd, dt)")].filter((one) => {
                    const box = one.getBoundingClientRect();
                    return box.width && !one.closest(".visually-hidden, .skip, [hidden]")
                      && (box.left < -1 || box.right > width + 1);
                  }).map((one) => one.textContent.slice(0, 60))""",
                width,
            )
            assert over == [], f"{name}, {direction}, {width}: {over}"
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"{name}, {direction}: {wide} instead of {width}"


def test_longer_words_and_the_other_direction_fit(alice: Person, world: Product) -> None:
    page = alice.open_app(world.app_one)
    expect(page.locator("#login-submit")).to_be_visible()
    page.evaluate(PSEUDO)
    require_fit(page, "sign-in")
    page.close()
    alice.sign_in_to(world.app_one)
    page = alice.sessions_page()
    page.locator("summary").first.click()
    for path in ("/account/sessions", "/account/security", "/device"):
        if not page.url.endswith(path):
            page.goto(f"{world.issuer}{path}")
        page.evaluate(PSEUDO)
        require_fit(page, path)


def test_a_choice_is_followed_at_once_by_the_page_and_what_scripts_write(
    alice: Person, world: Product
) -> None:
    alice.sign_in_to(world.app_one)
    page = alice.sessions_page()
    page.locator("#language").select_option("ja")
    page.locator("#theme").select_option("dark")
    page.locator("#prefer").click()
    expect(page.locator("html[lang=ja][data-theme=dark]")).to_be_attached()
    expect(page.get_by_role("heading", level=1)).to_have_text("セッション")
    expect(page.locator("time[data-moment]").first).to_contain_text("月")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert dark == "rgb(16, 18, 20)"
    # For whoever sits at this browser next.
    page.locator("#language").select_option("")
    page.locator("#theme").select_option("")
    page.locator("#prefer").click()
    expect(page.locator("html[lang=en]:not([data-theme])")).to_be_attached()
