"""A real file of countries, as npm brings it, from the package to the page."""

import ipaddress
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from idp.sessions.mmdb import GeoFile
from idp.sessions.place import UNKNOWN, Place, country_name
from tests.cli.test_cli import Terminal, environment, idp_cli
from tests.harness.available import INTEROP, SKIPPED
from tests.harness.provider import Idp, Templates, settings_for
from tests.harness.workbench import ManualClock

__all__ = ["environment", "idp_cli"]

pytestmark = pytest.mark.interop

PACKAGE = INTEROP / "node_modules" / "@ip-location-db" / "geo-whois-asn-country-mmdb"
WHOLE = "geo-whois-asn-country.mmdb"
KNOWN = {
    "8.8.8.8": "US",
    "90.1.2.3": "FR",
    "217.0.0.1": "DE",
    "2a01:e0a::1": "FR",
    "2001:4860:4860::8888": "US",
}


@pytest.fixture
def package() -> Path:
    if not (PACKAGE / WHOLE).exists():
        pytest.skip(f"{SKIPPED}`npm ci` in tests/interop (it is older than package-lock.json)")
    return PACKAGE


@pytest.fixture
def file(package: Path) -> Iterator[GeoFile]:
    made = GeoFile(package / WHOLE)
    yield made
    made.close()


def test_it_says_what_it_is(file: GeoFile) -> None:
    about = file.about()
    assert (about.gives, about.versions) == (("country",), (4, 6))
    assert about.attribution is not None
    assert about.attribution.url == "https://www.nro.net"


def test_it_knows_countries_and_nothing_else(file: GeoFile) -> None:
    for address, country in KNOWN.items():
        assert file.place(ipaddress.ip_address(address)) == Place(country)
    assert file.place(ipaddress.ip_address("3fff::1")) == UNKNOWN


def test_every_country_has_a_name(file: GeoFile) -> None:
    draw = random.Random(1)
    found = {
        file.place(ipaddress.IPv4Address(draw.getrandbits(32))).country for _ in range(5_000)
    } - {None}
    assert len(found) > 50
    assert [one for one in found if country_name(one or "", language="en") == one] == []


def test_a_package_goes_all_the_way_to_a_session(
    idp_cli: Terminal,
    environment: pytest.MonkeyPatch,
    package: Path,
    tmp_path: Path,
    templates: Templates,
    clock: ManualClock,
) -> None:
    packed, folder = tmp_path / "package.tgz", tmp_path / "geo"
    with tarfile.open(packed, "w:gz", compresslevel=1) as archive:
        archive.add(package, "package")
    environment.setenv("IDP_GEO__FOLDER", str(folder))
    done = idp_cli.ok("geo", "update", "--from", str(packed))
    assert [one["name"] for one in done["files"]] == [WHOLE]
    url = templates.sqlite(tmp_path / "idp.db")
    idp = Idp(settings_for(url, geo={"folder": str(folder)}), clock)
    session = idp.session(idp.person(), ip="90.1.2.3")
    page = idp.signed_in_browser(session).get("/account/sessions").text
    assert "France (approximate)" in page
    assert 'href="https://www.nro.net"' in page
    idp.close()
