import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.sessions.device import ACCEPT_CH, AGENT_MAXIMUM, describe, visit

KHTML = "AppleWebKit/537.36 (KHTML, like Gecko)"
WINDOWS = f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {KHTML}"
MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)"
LINUX = f"Mozilla/5.0 (X11; Linux x86_64) {KHTML}"
ANDROID = f"Mozilla/5.0 (Linux; Android 10; K) {KHTML}"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15"
MOBILE = "Mobile/15E148"
CHROME = "Chrome/156.0.0.0 Safari/537.36"


def hints(
    *,
    brands: str = '"Google Chrome";v="156", "Chromium";v="156", "Not_A Brand";v="24"',
    platform: str,
    version: str | None = None,
    model: str | None = None,
    mobile: str = "?0",
) -> dict[str, str]:
    said = {"sec-ch-ua": brands, "sec-ch-ua-platform": f'"{platform}"', "sec-ch-ua-mobile": mobile}
    if version is not None:
        said["sec-ch-ua-platform-version"] = f'"{version}"'
    if model is not None:
        said["sec-ch-ua-model"] = f'"{model}"'
    return said


def test_what_is_asked_for_is_what_is_read() -> None:
    said = {name.strip().lower(): '"x"' for name in ACCEPT_CH.split(",")}
    assert set(visit(said, ip=None).hints) == set(said)


@pytest.mark.parametrize(
    "agent, kind, label",
    [
        # Desktops. Windows 11 says "Windows NT 10.0", every Mac "10_15_7": no number is shown.
        (f"{WINDOWS} {CHROME}", "desktop", "Chrome 156 on Windows"),
        (f"{WINDOWS} {CHROME} Edg/156.0.0.0", "desktop", "Edge 156 on Windows"),
        (
            f"{WINDOWS} Chrome/141.0.0.0 Safari/537.36 OPR/125.0.0.0",
            "desktop",
            "Opera 125 on Windows",
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:145.0) Gecko/20100101 Firefox/145.0",
            "desktop",
            "Firefox 145 on Windows",
        ),
        (
            f"Mozilla/5.0 (Windows NT 6.1; Win64; x64) {KHTML} Chrome/109.0.0.0 Safari/537.36",
            "desktop",
            "Chrome 109 on Windows 7",
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0) like Gecko",
            "desktop",
            "IE 11 on Windows",
        ),
        (f"{MAC} {KHTML} {CHROME}", "laptop", "Chrome 156 on macOS"),
        (
            f"{MAC} AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.1 Safari/605.1.15",
            "laptop",
            "Safari 26 on macOS",
        ),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:145.0) Gecko/20100101 Firefox/145.0",
            "laptop",
            "Firefox 145 on macOS",
        ),
        (f"{LINUX} {CHROME}", "desktop", "Chrome 156 on Linux"),
        (f"{LINUX} {CHROME} Vivaldi/7.6.3797.58", "desktop", "Vivaldi 7 on Linux"),
        (
            "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
            "desktop",
            "Firefox 145 on Linux",
        ),
        (
            "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
            "desktop",
            "Firefox 145 on Ubuntu",
        ),
        (
            f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {KHTML} {CHROME}",
            "laptop",
            "Chrome 156 on ChromeOS",
        ),
        (
            f"{LINUX} HeadlessChrome/156.0.0.0 Safari/537.36",
            "desktop",
            "Chrome (headless) 156 on Linux",
        ),
        # Phones and tablets.
        (
            f"{IPHONE} (KHTML, like Gecko) Version/26.1 {MOBILE} Safari/604.1",
            "phone",
            "Safari 26 on iPhone",
        ),
        (
            f"{IPHONE} (KHTML, like Gecko) CriOS/156.0.0.0 {MOBILE} Safari/604.1",
            "phone",
            "Chrome 156 on iPhone",
        ),
        (
            f"{IPHONE} (KHTML, like Gecko) FxiOS/145.0 {MOBILE} Safari/605.1.15",
            "phone",
            "Firefox 145 on iPhone",
        ),
        (
            f"{IPHONE} (KHTML, like Gecko) Version/18.0 EdgiOS/142.0.0.0 {MOBILE} Safari/604.1",
            "phone",
            "Edge 142 on iPhone",
        ),
        (
            f"{IPHONE} (KHTML, like Gecko) Version/18.7 {MOBILE} DuckDuckGo/7 Safari/605.1.15",
            "phone",
            "DuckDuckGo 7 on iPhone",
        ),
        (
            "Mozilla/5.0 (iPad; CPU OS 12_5_7 like Mac OS X) AppleWebKit/605.1.15 "
            f"(KHTML, like Gecko) Version/12.1.2 {MOBILE} Safari/604.1",
            "tablet",
            "Safari 12 on iPad",
        ),
        (f"{ANDROID} Chrome/156.0.0.0 Mobile Safari/537.36", "phone", "Chrome 156 on Android"),
        (f"{ANDROID} {CHROME}", "tablet", "Chrome 156 on Android"),
        (
            f"{ANDROID} SamsungBrowser/29.0 Chrome/136.0.0.0 Mobile Safari/537.36",
            "phone",
            "Samsung Internet 29 on Android",
        ),
        (
            "Mozilla/5.0 (Android 15; Mobile; rv:145.0) Gecko/145.0 Firefox/145.0",
            "phone",
            "Firefox 145 on Android",
        ),
        (
            "Mozilla/5.0 (Android 15; Tablet; rv:145.0) Gecko/145.0 Firefox/145.0",
            "tablet",
            "Firefox 145 on Android",
        ),
        (
            f"Mozilla/5.0 (Linux; Android 15; Pixel 9 Build/AP4A.250105.002; wv) {KHTML} "
            "Version/4.0 Chrome/131.0.6778.200 Mobile Safari/537.36",
            "phone",
            "Android WebView 131 on Android",
        ),
        # What stands in a living room.
        (
            f"Mozilla/5.0 (Web0S; Linux/SmartTV) {KHTML} Chrome/120.0.6099.270 Safari/537.36 "
            "WebAppManager",
            "tv",
            "Chrome 120 on webOS",
        ),
        (
            f"Mozilla/5.0 (SMART-TV; LINUX; Tizen 8.0) {KHTML} 108.0.5359.1/8.0 TV Safari/537.36",
            "tv",
            "Safari on Tizen",
        ),
        (
            f"Mozilla/5.0 (Linux; Android 12; Chromecast HD Build/STTE.231215.005) {KHTML} "
            "Chrome/120.0.0.0 Safari/537.36 CrKey/1.56",
            "tv",
            "Chrome 120 on Chromecast",
        ),
        (
            f"Mozilla/5.0 (Linux; Android 9; AFTMM Build/PS7633) {KHTML} "
            "Version/4.0 Chrome/120.0.0.0 Mobile Safari/537.36",
            "tv",
            "Android WebView 120 on Android",
        ),
        (
            f"Mozilla/5.0 (Linux; Android 10; BRAVIA 4K UR2) {KHTML} {CHROME}",
            "tv",
            "Chrome 156 on Android",
        ),
        ("AppleTV14,1/18.0", "tv", "tvOS"),
        # Programs.
        ("curl/8.17.0", "terminal", "curl 8"),
        ("Wget/1.25.0", "terminal", "Wget 1"),
        ("python-requests/2.32.5", "terminal", "Python Requests 2"),
        ("python-httpx/0.28.1", "terminal", "python-httpx"),
        ("Go-http-client/2.0", "terminal", "Go-http-client 2"),
        ("okhttp/5.1.0", "terminal", "okhttp 5"),
        ("node", "terminal", "node"),
        # Nothing to go by.
        ("", "desktop", "Unknown device"),
        ("?", "desktop", "Unknown device"),
        ("<script>alert(1)</script>", "desktop", "Unknown device"),
    ],
)
def test_a_device_by_its_user_agent(agent: str, kind: str, label: str) -> None:
    device = describe(visit({"user-agent": agent}, ip=None))
    assert (device.type, device.label) == (kind, label)


@pytest.mark.parametrize(
    "agent, said, kind, label",
    [
        (
            f"{WINDOWS} {CHROME}",
            hints(platform="Windows", version="19.0.0"),
            "desktop",
            "Chrome 156 on Windows 11",
        ),
        (
            f"{WINDOWS} {CHROME}",
            hints(platform="Windows", version="10.0.0"),
            "desktop",
            "Chrome 156 on Windows 10",
        ),
        (
            f"{WINDOWS} {CHROME}",
            hints(platform="Windows", version="0.3.0"),
            "desktop",
            "Chrome 156 on Windows 8.1",
        ),
        # What is sent unasked has no version.
        (f"{WINDOWS} {CHROME}", hints(platform="Windows"), "desktop", "Chrome 156 on Windows"),
        (
            f"{MAC} {KHTML} {CHROME}",
            hints(platform="macOS", version="26.1.0"),
            "laptop",
            "Chrome 156 on macOS 26",
        ),
        (
            f"{WINDOWS} {CHROME} Edg/156.0.0.0",
            hints(
                brands='"Microsoft Edge";v="156", "Chromium";v="156", "Not?A_Brand";v="99"',
                platform="Windows",
                version="15.0.0",
            ),
            "desktop",
            "Edge 156 on Windows 11",
        ),
        # Brave says it is Chrome in its user-agent string; its hints say what it is.
        (
            f"{LINUX} {CHROME}",
            hints(
                brands='"Brave";v="156", "Not_A Brand";v="8", "Chromium";v="156"', platform="Linux"
            ),
            "desktop",
            "Brave 156 on Linux",
        ),
        (
            f"{LINUX} {CHROME}",
            hints(brands='"Chromium";v="156", "Not)A;Brand";v="8"', platform="Linux"),
            "desktop",
            "Chromium 156 on Linux",
        ),
        # A kernel's version says nothing to a person.
        (
            f"{LINUX} {CHROME}",
            hints(platform="Linux", version="6.17.0"),
            "desktop",
            "Chrome 156 on Linux",
        ),
        (
            f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {KHTML} {CHROME}",
            hints(platform="Chrome OS", version="16433.41.0"),
            "laptop",
            "Chrome 156 on ChromeOS",
        ),
        (
            f"{ANDROID} Chrome/156.0.0.0 Mobile Safari/537.36",
            hints(platform="Android", version="16.0.0", model="Pixel 10", mobile="?1"),
            "phone",
            "Chrome 156 on Pixel 10",
        ),
        (
            f"{ANDROID} Chrome/156.0.0.0 Mobile Safari/537.36",
            hints(platform="Android", version="16.0.0", model="", mobile="?1"),
            "phone",
            "Chrome 156 on Android 16",
        ),
        (
            f"{ANDROID} {CHROME}",
            hints(platform="Android", version="16.0.0", model="SM-X920"),
            "tablet",
            "Chrome 156 on SM-X920",
        ),
        # The full list wins over the short one.
        (
            f"{WINDOWS} {CHROME}",
            {
                "sec-ch-ua": '"Google Chrome";v="1"',
                "sec-ch-ua-full-version-list": '"Google Chrome";v="156.0.7000.12", '
                '"Not=A?Brand";v="24.0.0.0", "Chromium";v="156.0.7000.12"',
            },
            "desktop",
            "Chrome 156 on Windows",
        ),
        # Hints that make no sense leave the user-agent string to speak.
        (
            f"{LINUX} {CHROME}",
            {
                "sec-ch-ua": '"<b>Evil</b>";v="1"',
                "sec-ch-ua-platform": '"<b>Evil</b>"',
                "sec-ch-ua-platform-version": '"9999999999"',
                "sec-ch-ua-model": '"<b>Evil</b>"',
            },
            "desktop",
            "Chrome 156 on Linux",
        ),
    ],
)
def test_client_hints_win_over_the_user_agent(
    agent: str, said: dict[str, str], kind: str, label: str
) -> None:
    device = describe(visit({"user-agent": agent, **said}, ip=None))
    assert (device.type, device.label) == (kind, label)


def test_browser_and_system_are_kept_apart_from_the_label() -> None:
    device = describe(
        visit({"user-agent": f"{IPHONE} Version/26.1 {MOBILE} Safari/604.1"}, ip=None)
    )
    assert (device.browser, device.os) == ("Safari 26", "iOS")


HEADERS = ["user-agent", *(name.strip().lower() for name in ACCEPT_CH.split(",")), "sec-ch-ua",
           "sec-ch-ua-platform", "sec-ch-ua-mobile"]  # fmt: skip
PIECES = st.sampled_from(
    ["Mozilla/5.0", "(", ")", ";", " ", "Chrome/", "Version/", "Safari/", "1", "999999999999", '"',
     '";v="', "Windows NT ", "Android ", "Mobile", "Opera/", "\x00", "\x1b[31m", "é", "<b>", "x" * 80]
)  # fmt: skip


@given(
    st.dictionaries(
        st.sampled_from(HEADERS),
        st.text(max_size=500) | st.lists(PIECES, max_size=30).map("".join),
    )
)
def test_whatever_is_sent_fits_its_columns_and_can_be_shown(headers: dict[str, str]) -> None:
    seen = visit(headers, ip=None)
    device = describe(seen)
    assert len(seen.agent) <= AGENT_MAXIMUM
    assert len(device.type) <= 16
    assert device.label
    for text in (device.label, device.browser or "", device.os or ""):
        assert len(text) <= (100 if text is device.label else 64)
        assert text.isprintable()


@pytest.mark.attack("DS-05")
@pytest.mark.parametrize(
    "headers",
    [
        {"user-agent": "(" * 100_000},
        {"user-agent": "Mozilla/5.0 " + "Android " * 20_000},
        {"user-agent": "tizen " * 20_000},
        {"sec-ch-ua": '"' * 100_000},
        {"sec-ch-ua": '"a";v="1", ' * 10_000},
        {"sec-ch-ua": "nota" * 25_000},
        {"sec-ch-ua-model": '"' + " " * 100_000},
    ],
)
def test_hostile_headers_cost_no_time(headers: dict[str, Any]) -> None:
    describe(visit({"user-agent": "warm"}, ip=None))
    before = time.process_time()
    describe(visit(headers, ip=None))
    assert time.process_time() - before < 0.1
