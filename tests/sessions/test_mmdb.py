"""MMDB files, good and hostile: what they say of themselves, and that none does harm."""

import ipaddress
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from idp.sessions.mmdb import Attribution, GeoFile, Unusable
from idp.sessions.place import UNKNOWN, Place
from tests.harness import mmdb
from tests.harness.mmdb import Raw, Unsigned
from tests.harness.workbench import NOON

HERE, SIX = ipaddress.ip_address("203.0.113.7"), ipaddress.ip_address("2001:db8::7")
# What a hostile record may cost, with a wide margin for a busy machine: it ends.
SECONDS = 20


Open = Callable[..., GeoFile]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Opens a file with one record, at `test.mmdb`."""
    made: list[GeoFile] = []

    def one(record: Any, **metadata: Any) -> GeoFile:
        path = mmdb.write(tmp_path / "test.mmdb", {"203.0.113.0/24": record}, **metadata)
        made.append(GeoFile(path))
        return made[-1]

    yield one
    for file in made:
        file.close()


def test_a_good_file_answers_for_both_versions_of_ip(tmp_path: Path) -> None:
    lyon, paris = mmdb.city("Lyon", "FR"), mmdb.city("Paris", "FR")
    path = mmdb.write(tmp_path / "x.mmdb", {"203.0.113.0/24": lyon, "2001:db8::/32": paris})
    file = GeoFile(path)
    assert file.place(HERE) == Place("FR", city="Lyon")
    assert file.place(SIX) == Place("FR", city="Paris")
    assert file.place(ipaddress.ip_address("192.0.2.1")) == UNKNOWN
    about = file.about()
    assert (about.gives, about.versions) == (("country", "city"), (4, 6))
    assert (about.kind, about.built_at, about.attribution) == ("Test-City", NOON, None)
    file.close()


def test_a_file_of_one_version_knows_nothing_of_the_other(tmp_path: Path) -> None:
    record = {"203.0.113.0/24": {"country_code": "FR"}}
    file = GeoFile(mmdb.write(tmp_path / "four.mmdb", record, ip_version=4))
    assert (file.place(HERE), file.place(SIX)) == (Place("FR"), UNKNOWN)
    assert file.about().versions == (4,)
    file.close()


@pytest.mark.parametrize(
    ("name", "kind", "described", "wanted"),
    [
        ("x", "DBIP-City-Lite", "", "IP Geolocation by DB-IP"),
        ("dbip-city-ipv4", "city ipv4", "", "IP Geolocation by DB-IP"),
        ("x", "GeoLite2-City", "", "This product includes GeoLite Data created by MaxMind"),
        ("x", "ipinfo generic_lite.mmdb", "", "IP address data powered by IPinfo"),
        ("x", "", "IPinfo lite", "IP address data powered by IPinfo"),
        ("geo-whois-asn-country", "country ipvAll", "", "IP address data of the NRO"),
        ("x", "GeoIP2-City", "", None),
    ],
)
def test_who_must_be_named_is_known(
    tmp_path: Path, name: str, kind: str, described: str, wanted: str | None
) -> None:
    path = mmdb.write(
        tmp_path / f"{name}.mmdb", {}, database_type=kind, description={"en": described}
    )
    file = GeoFile(path)
    found = file.attribution
    file.close()
    assert (found.text if found else None) == wanted
    assert found is None or (found.url or "").startswith("https://")


def test_an_operator_says_who_is_named_with_a_link_or_without() -> None:
    link = "https://db-ip.com"
    assert Attribution.of(f"Places by DB-IP {link}") == Attribution("Places by DB-IP", link)
    assert Attribution.of("Places by us") == Attribution("Places by us", None)
    assert Attribution.of(link) == Attribution(link, None)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a database at all",
        mmdb.MARKER,
        mmdb.MARKER + b"\xff" * 100,
        b"\x00" * 100_000,
        mmdb.made({"203.0.113.0/24": {}})[:-40],
        mmdb.made({}, ip_version=5),
        mmdb.made({}, node_count=Unsigned(2**31, 6)),
        mmdb.made({}, node_count="many"),
        mmdb.made({}, node_count=None),
        mmdb.made({}, record_size=Unsigned(7, 5)),
        mmdb.made({}, unheard_of=1),
        mmdb.made({}, languages=Raw(b"\x20\x00" * 40)),
        mmdb.MARKER + mmdb.encoded({"node_count": mmdb.pointer(0)}),
        mmdb.MARKER + mmdb.encoded([[]] * 60_000),
    ],
)
def test_what_is_no_whole_database_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.mmdb"
    path.write_bytes(content)
    with pytest.raises(Unusable) as refused:
        GeoFile(path)
    assert refused.value.reason.isprintable()


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.mmdb"):
        with pytest.raises(Unusable):
            GeoFile(path)


@pytest.mark.parametrize(
    "record",
    [
        Raw(b"\xff" * 40),
        mmdb.pointer(0),
        {"country": mmdb.pointer(0)},
        {"country": mmdb.pointer(2**31)},
        [[mmdb.pointer(0)] * 9] * 9,
        {"city": "x" * 3_000_000},
        Raw(mmdb.encoded("x")[:1] + b"\xc3\x28"),
        {"city": Raw(b"\x42\xc3\x28")},
        Raw(b"\x5f\xff\xff\xff"),
        Raw(b"\xe1" + b"\xe0" + b"\xa0"),
        {"city": Raw(b"\x00\xff")},
    ],
)
def test_a_hostile_record_is_refused_and_ends_soon(opened: Open, record: Any) -> None:
    file = opened(record)
    began = time.monotonic()
    with pytest.raises(Unusable) as refused:
        file.place(HERE)
    assert refused.value.reason.isprintable()
    assert len(refused.value.reason) <= 200
    with pytest.raises(Unusable):
        file.about()
    assert time.monotonic() - began < SECONDS


@pytest.mark.parametrize(
    "record",
    [
        "a text",
        Raw(b""),
        ["a list"] * 60_000,
        {str(number): "x" for number in range(30_000)},
        {"city": "x" * 1_000_000, "country_code": "x" * 1_000_000},
        {"country": {"iso_code": True}, "city": {"names": ["en"]}, "location": "here"},
    ],
)
def test_a_record_of_nonsense_is_an_unknown_place(opened: Open, record: Any) -> None:
    file = opened(record)
    began = time.monotonic()
    assert file.place(HERE).country is None
    file.about()
    assert time.monotonic() - began < SECONDS


def test_a_tree_that_leads_in_circles_ends(tmp_path: Path) -> None:
    content = bytearray(mmdb.made({"203.0.113.0/24": {"country_code": "FR"}}))
    nodes = content.index(mmdb.encoded({"country_code": "FR"})) - 16
    content[:nodes] = bytes(nodes)  # every node leads to the first one
    path = tmp_path / "x.mmdb"
    path.write_bytes(content)
    file = GeoFile(path)
    began = time.monotonic()
    with pytest.raises(Unusable):
        file.place(HERE)
    with pytest.raises(Unusable):
        file.about()
    assert time.monotonic() - began < SECONDS
    file.close()


@pytest.mark.parametrize("built", [Unsigned(2**63, 9), "yesterday", Unsigned(0, 9)])
def test_a_date_that_is_none_is_left_out(opened: Open, built: Any) -> None:
    assert opened({}, build_epoch=built).built_at is None


def test_a_file_that_is_overwritten_while_it_is_open_ends_nothing(
    opened: Open, tmp_path: Path
) -> None:
    """As `curl -o` does. Was the file itself mapped, this would end the process with SIGBUS."""
    file = opened({"country_code": "FR"})
    with (tmp_path / "test.mmdb").open("wb"):
        pass
    assert file.place(HERE) == Place("FR")


def test_a_file_beyond_all_measure_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = mmdb.write(tmp_path / "x.mmdb", {})
    monkeypatch.setattr("idp.sessions.mmdb.SIZE_MAXIMUM", 100)
    with pytest.raises(Unusable, match="larger than 100 bytes"):
        GeoFile(path)


def test_without_room_for_a_copy_the_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = mmdb.write(tmp_path / "x.mmdb", {})
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with pytest.raises(Unusable, match="No such file"):
        GeoFile(path)
