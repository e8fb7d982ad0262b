"""What a browser says of itself, and what we make of it (rows S2, S3).

User-agent strings are frozen and lie ("Android 10; K", "Mac OS X 10_15_7"); where the browser sends
client hints (User-Agent Client Hints, `Sec-CH-UA-…`), they win. Nothing here is trusted for a
decision: it is a label.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from ua_parser import parse

AGENT_MAXIMUM = 400
# Asked for by every page, so that the next request carries them.
ACCEPT_CH = "Sec-CH-UA-Full-Version-List, Sec-CH-UA-Platform-Version, Sec-CH-UA-Model"
_BRAND = re.compile(r'"([^"]{1,60})";\s*v="([0-9]{1,5})')
_NOT_A_BRAND = re.compile(r"not.{0,3}a.{0,3}brand", re.IGNORECASE)
_HINTS = (
    "sec-ch-ua",
    "sec-ch-ua-full-version-list",
    "sec-ch-ua-platform",
    "sec-ch-ua-platform-version",
    "sec-ch-ua-model",
    "sec-ch-ua-mobile",
)


@dataclass(frozen=True, slots=True)
class Visit:
    """Where a request came from, as far as we believe it."""

    ip: str | None = None
    agent: str = ""
    hints: Mapping[str, str] = field(default_factory=dict)
    # Digest of the long-lived device cookie; None when the browser sent none.
    device_hash: str | None = None


@dataclass(frozen=True, slots=True)
class Device:
    """How a device is shown: `type` chooses the icon, `label` is the default name."""

    type: str
    browser: str | None
    os: str | None
    label: str


def visit(
    headers: Mapping[str, str], *, ip: str | None, device_hash: str | None = None
) -> Visit:
    """Gathers a `Visit` from request headers (lower-case names)."""
    return Visit(
        ip=ip,
        agent=_printable(headers.get("user-agent", ""))[:AGENT_MAXIMUM],
        hints={
            name: _printable(headers[name])[:AGENT_MAXIMUM] for name in _HINTS if name in headers
        },
        device_hash=device_hash,
    )


def describe(visit: Visit) -> Device:
    """Names the device of a visit: "Chrome 156 on Windows 11", "Safari 19 on iPhone"."""
    return _describe(visit.agent, tuple(sorted(visit.hints.items())))


@lru_cache(maxsize=4_096)
def _describe(agent: str, hints: tuple[tuple[str, str], ...]) -> Device:
    said = dict(hints)
    parsed = parse(agent)
    browser, version = _browser(said)
    if browser is None and parsed.user_agent is not None:
        browser, version = parsed.user_agent.family, parsed.user_agent.major
    os = _platform(said) or _parsed_os(parsed)
    family = parsed.device.family if parsed.device is not None else ""
    kind = _type(agent, said, os or "", family or "")
    browser = _short_browser(browser)
    if browser is None and os is None:
        return Device(kind, None, None, "Unknown device")
    name = f"{browser} {version}" if browser and version else browser
    place = family if family in ("iPhone", "iPad") else os
    label = " on ".join(part for part in (name, place) if part)
    return Device(kind, name, os, label)


def _browser(said: Mapping[str, str]) -> tuple[str | None, str | None]:
    brands = _BRAND.findall(said.get("sec-ch-ua-full-version-list") or said.get("sec-ch-ua") or "")
    real = [(name, major) for name, major in brands if not _NOT_A_BRAND.search(name)]
    # Every Chromium browser also names "Chromium"; the other name is what people call it.
    for name, major in real:
        if name != "Chromium":
            return name, major
    return real[0] if real else (None, None)


def _short_browser(name: str | None) -> str | None:
    if name is None or name == "Other":
        return None
    names = {
        "Google Chrome": "Chrome",
        "Microsoft Edge": "Edge",
        "Mobile Safari": "Safari",
        "Chrome Mobile": "Chrome",
        "Chrome Mobile iOS": "Chrome",
        "Firefox Mobile": "Firefox",
        "Firefox iOS": "Firefox",
        "HeadlessChrome": "Chrome (headless)",
    }
    return names.get(name, name)


def _platform(said: Mapping[str, str]) -> str | None:
    platform = said.get("sec-ch-ua-platform", "").strip('"')
    if not platform or platform == "Unknown":
        return None
    version = said.get("sec-ch-ua-platform-version", "").strip('"').split(".")[0]
    if platform == "Windows" and version.isdigit():
        # The hint counts Windows 10 as 1 to 10 and Windows 11 as 13 and up.
        return "Windows 11" if int(version) >= 13 else "Windows 10"
    if platform in ("Android", "macOS", "iOS") and version.isdigit() and version != "0":
        return f"{platform} {version}"
    return {"Chrome OS": "ChromeOS"}.get(platform, platform)


def _parsed_os(parsed: object) -> str | None:
    os = getattr(parsed, "os", None)
    if os is None or os.family == "Other":
        return None
    if os.family == "Mac OS X":
        return "macOS"
    if os.family == "Windows" and os.major:
        return f"Windows {os.major}"
    if os.family == "iOS" and os.major:
        return f"iOS {os.major}"
    # "Android 10; K" is what every Android says; the number means nothing.
    return str(os.family)


def _type(agent: str, said: Mapping[str, str], os: str, family: str) -> str:
    lower = agent.lower()
    if "smart-tv" in lower or "smarttv" in lower or "appletv" in lower or "googletv" in lower:
        return "tv"
    if "ipad" in lower or family == "iPad" or "tablet" in lower:
        return "tablet"
    if said.get("sec-ch-ua-mobile") == "?1" or "iphone" in lower or "mobile" in lower:
        return "phone"
    if "android" in lower:
        return "tablet"
    if os.startswith(("macOS", "Windows", "ChromeOS")):
        return "laptop" if os.startswith(("macOS", "ChromeOS")) else "desktop"
    if re.match(r"(curl|wget|python|go-http|node|okhttp|oidc-agent|java)", lower):
        return "terminal"
    return "desktop"


def _printable(text: str) -> str:
    return "".join(character for character in text if character.isprintable())
