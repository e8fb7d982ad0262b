"""What a browser says of itself, and what we make of it (rows S2, S3).

User-agent strings are frozen and lie ("Android 10; K", "Mac OS X 10_15_7"); where the browser sends
client hints (User-Agent Client Hints, `Sec-CH-UA-…`), they win. Nothing here is trusted for a
decision: it is a label.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from ua_parser import Result, parse

from idp.sessions.place import UNKNOWN, Place

AGENT_MAXIMUM = 400
# Asked for by every page, so that the next request carries them.
ACCEPT_CH = "Sec-CH-UA-Full-Version-List, Sec-CH-UA-Platform-Version, Sec-CH-UA-Model"
# Names come from strangers and are kept in short columns: plain characters, few of them.
_BRAND = re.compile(r'"([^"]{1,40})";\s?v="([0-9]{1,5})')
_NOT_A_BRAND = re.compile(r"not.{0,3}a.{0,3}brand", re.IGNORECASE)
_PLAIN = re.compile(r"[\w .+()&-]{1,40}")
_PRODUCT = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,39}")
_TV = re.compile(
    r"smart-?tv|appletv|apple tv|google ?tv|android tv|crkey|chromecast|bravia|web0s|hbbtv|roku|"
    r"netcast|viera|\baft[a-z0-9]{1,6}\b|playstation|xbox|tizen.{1,40}\btv\b"
)
_TERMINAL = re.compile(
    r"curl|wget|httpie|python|aiohttp|go-http|node|undici|okhttp|oidc-agent|java/"
)
_HINTS = (
    "sec-ch-ua",
    "sec-ch-ua-full-version-list",
    "sec-ch-ua-platform",
    "sec-ch-ua-platform-version",
    "sec-ch-ua-model",
    "sec-ch-ua-mobile",
)
_PLATFORMS = {
    "Android": "Android",
    "Chrome OS": "ChromeOS",
    "Chromium OS": "ChromeOS",
    "ChromeOS": "ChromeOS",
    "Fuchsia": "Fuchsia",
    "iOS": "iOS",
    "Linux": "Linux",
    "macOS": "macOS",
    "Windows": "Windows",
}
# What the parser calls them, and what people do.
_SYSTEMS = {
    "Mac OS X": "macOS",
    "Chrome OS": "ChromeOS",
    "ATV OS X": "tvOS",
    "Chromecast Linux": "Chromecast",
    "Chromecast Android": "Chromecast",
    "Web0S": "webOS",
}
_BROWSERS = {
    "Google Chrome": "Chrome",
    "Chrome Mobile": "Chrome",
    "Chrome Mobile iOS": "Chrome",
    "Chrome Mobile WebView": "Android WebView",
    "HeadlessChrome": "Chrome (headless)",
    "Microsoft Edge": "Edge",
    "Edge Mobile": "Edge",
    "Mobile Safari": "Safari",
    "Mobile Safari UI/WKWebView": "Safari",
    "Firefox Mobile": "Firefox",
    "Firefox iOS": "Firefox",
    "DuckDuckGo Mobile": "DuckDuckGo",
    "Opera Mobile": "Opera",
}
# Frozen in user-agent strings, whatever the machine runs: no version is better than a wrong one.
_FROZEN_WINDOWS = "10"
_FROZEN_IOS = "18"


Locate = Callable[[str | None], Place]


def _nowhere(_: str | None) -> Place:
    return UNKNOWN


@dataclass(frozen=True, slots=True)
class Visit:
    """Where a request came from, as far as we believe it."""

    ip: str | None = None
    agent: str = ""
    hints: Mapping[str, str] = field(default_factory=dict)
    # Digest of the long-lived device cookie; None when the browser sent none.
    device_hash: str | None = None
    # Digest of the cookie of a trusted device, if there is one.
    trust_hash: str | None = None
    # Says where an address is.
    locate: Locate = _nowhere

    @property
    def place(self) -> Place:
        """Where the address is; files are asked each time, so only who needs it asks."""
        return self.locate(self.ip)


@dataclass(frozen=True, slots=True)
class Device:
    """How a device is shown: `type` chooses the icon, `label` is the default name."""

    type: str
    browser: str | None
    os: str | None
    label: str


def visit(
    headers: Mapping[str, str],
    *,
    ip: str | None,
    device_hash: str | None = None,
    trust_hash: str | None = None,
    locate: Locate = _nowhere,
) -> Visit:
    """Gathers a `Visit` from request headers (lower-case names)."""
    return Visit(
        ip=ip,
        agent=_printable(headers.get("user-agent", ""))[:AGENT_MAXIMUM],
        hints={
            name: _printable(headers[name])[:AGENT_MAXIMUM] for name in _HINTS if name in headers
        },
        device_hash=device_hash,
        trust_hash=trust_hash,
        locate=locate,
    )


def describe(visit: Visit) -> Device:
    """Names the device of a visit: "Chrome 156 on Windows 11", "Safari 19 on iPhone"."""
    return _describe(visit.agent, tuple(sorted(visit.hints.items())))


@lru_cache(maxsize=4_096)
def _describe(agent: str, hints: tuple[tuple[str, str], ...]) -> Device:
    said = dict(hints)
    parsed = parse(agent)
    family = (parsed.device.family or "") if parsed.device is not None else ""
    browser, version = _hinted_browser(said)
    if browser is None and parsed.user_agent is not None and parsed.user_agent.family != "Other":
        browser, version = parsed.user_agent.family, parsed.user_agent.major
    os = _hinted_system(said) or _parsed_system(parsed)
    kind = _type(agent.lower(), said, os or "", family)
    if browser is None and kind == "terminal" and (product := _PRODUCT.match(agent)):
        browser = product[0]
    if browser is None and os is None:
        return Device(kind, None, None, "Unknown device")
    name = _named(browser, version) if browser is not None else None
    place = _model(said) or (family if family in ("iPhone", "iPad") else os)
    return Device(kind, name, os, " on ".join(part for part in (name, place) if part))


def _hinted_browser(said: Mapping[str, str]) -> tuple[str | None, str | None]:
    brands = _BRAND.findall(said.get("sec-ch-ua-full-version-list") or said.get("sec-ch-ua") or "")
    real = [
        (name, major)
        for name, major in brands
        if _PLAIN.fullmatch(name) and not _NOT_A_BRAND.search(name)
    ]
    # Every Chromium browser also names "Chromium"; the other name is what people call it.
    for name, major in real:
        if name != "Chromium":
            return name, major
    return real[0] if real else (None, None)


def _named(browser: str, version: str | None) -> str:
    name = _BROWSERS.get(browser, browser)[:40]
    return f"{name} {version[:8]}" if version else name


def _hinted_system(said: Mapping[str, str]) -> str | None:
    platform = _PLATFORMS.get(said.get("sec-ch-ua-platform", "").strip('"'))
    major, _, rest = said.get("sec-ch-ua-platform-version", "").strip('"').partition(".")
    if platform is None or not re.fullmatch(r"[0-9]{1,3}", major):
        return platform
    if platform == "Windows":
        # The hint counts: 0.1 to 0.3 are Windows 7 to 8.1, 1 to 10 are 10, 13 and up are 11.
        if major == "0":
            return {"1": "Windows 7", "2": "Windows 8", "3": "Windows 8.1"}.get(rest[:1], platform)
        return "Windows 11" if int(major) >= 13 else "Windows 10"
    if platform in ("Android", "macOS", "iOS") and major != "0":
        return f"{platform} {major}"
    return platform


def _parsed_system(parsed: Result) -> str | None:
    os = parsed.os
    if os is None or os.family == "Other":
        return None
    frozen = {"Windows": _FROZEN_WINDOWS, "iOS": _FROZEN_IOS}.get(os.family)
    if frozen is not None and os.major and os.major != frozen:
        return f"{os.family} {os.major}"[:40]
    # "Android 10; K" is what every Android says; the number means nothing.
    return _SYSTEMS.get(os.family, os.family)[:40]


def _model(said: Mapping[str, str]) -> str | None:
    model = said.get("sec-ch-ua-model", "").strip('"').strip()
    return model if _PLAIN.fullmatch(model) else None


def _type(agent: str, said: Mapping[str, str], os: str, family: str) -> str:
    if _TV.search(agent):
        return "tv"
    if "ipad" in agent or family == "iPad" or "tablet" in agent:
        return "tablet"
    if said.get("sec-ch-ua-mobile") == "?1" or "iphone" in agent or "mobile" in agent:
        return "phone"
    if "android" in agent:
        return "tablet"
    if os.startswith(("macOS", "ChromeOS")):
        return "laptop"
    return "terminal" if _TERMINAL.match(agent) else "desktop"


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(character for character in text if character.isprintable())
