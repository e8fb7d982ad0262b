"""The folder of place files: which are used, and that replaced ones are noticed."""

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from idp.sections import GeoSettings
from idp.sessions.atlas import CHECK_EVERY, FILES_MAXIMUM, Atlas
from idp.sessions.place import UNKNOWN, Place
from tests.harness import mmdb
from tests.harness.mmdb import Unsigned
from tests.harness.workbench import NOON, ManualClock

HERE = "203.0.113.7"
LYON = {"203.0.113.0/24": mmdb.city("Lyon", "FR")}
PARIS = {"203.0.113.0/24": mmdb.city("Paris", "FR")}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def atlas(tmp_path: Path, clock: ManualClock) -> Iterator[Atlas]:
    made = Atlas(GeoSettings(folder=str(tmp_path / "geo")), clock)
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "geo"
    made.mkdir()
    return made


def built(days: int) -> Unsigned:
    return Unsigned(NOON // 1_000_000 + days * 86_400, 9)


def test_without_a_folder_places_are_unknown(atlas: Atlas) -> None:
    assert atlas.of(HERE) == UNKNOWN
    assert atlas.attributions() == []


def test_every_file_in_the_folder_is_asked(atlas: Atlas, folder: Path) -> None:
    mmdb.write(folder / "dbip-city.mmdb", LYON)
    mmdb.write(folder / "asn.mmdb", {"203.0.113.0/24": mmdb.network(64496, "Orange")})
    mmdb.write(folder / "country-ipv6.mmdb", {"2001:db8::/32": {"country_code": "JP"}})
    (folder / "README").write_text("not asked")
    (folder / ".hidden.mmdb").write_text("not asked")
    (folder / "folder.mmdb").mkdir()
    assert atlas.of(HERE) == Place("FR", city="Lyon", asn=64496, network="Orange")
    assert atlas.of(f"::ffff:{HERE}") == atlas.of(HERE)
    assert atlas.of("2001:db8::7") == Place("JP")
    for address in ("10.0.0.1", "192.0.2.1", "nonsense", None):
        assert atlas.of(address) == UNKNOWN
    assert [one.text for one in atlas.attributions()] == ["IP Geolocation by DB-IP"]


def test_of_two_that_know_equally_much_the_newer_is_believed(atlas: Atlas, folder: Path) -> None:
    mmdb.write(folder / "a.mmdb", LYON, build_epoch=built(0))
    mmdb.write(folder / "b.mmdb", PARIS, build_epoch=built(30))
    mmdb.write(folder / "c.mmdb", {"203.0.113.0/24": {"country_code": "DE"}}, build_epoch=built(60))
    assert atlas.of(HERE) == Place("FR", city="Paris")


def test_a_replaced_file_is_noticed_within_two_seconds(
    atlas: Atlas, folder: Path, clock: ManualClock
) -> None:
    path = mmdb.write(folder / "city.mmdb", LYON)
    assert atlas.of(HERE).city == "Lyon"
    mmdb.write(path, PARIS)
    assert atlas.of(HERE).city == "Lyon"  # not looked again yet; what is open is still whole
    clock.advance(CHECK_EVERY)
    assert atlas.of(HERE).city == "Paris"
    path.unlink()
    clock.advance(CHECK_EVERY)
    assert atlas.of(HERE) == UNKNOWN
    mmdb.write(path, LYON)
    clock.advance(-10 * CHECK_EVERY)  # a clock that was set back must not stop us from looking
    assert atlas.of(HERE).city == "Lyon"


def test_only_what_changed_is_opened_again(
    atlas: Atlas, folder: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "idp.sessions.atlas")
    mmdb.write(folder / "city.mmdb", LYON)
    for _ in range(3):
        atlas.of(HERE)
        clock.advance(CHECK_EVERY)
    assert [one.getMessage() for one in caplog.records] == [
        f"places are looked up in {folder}: city.mmdb"
    ]


def test_a_broken_file_is_unknown_with_one_line_in_the_log_until_it_is_whole(
    atlas: Atlas, folder: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    path, whole = folder / "city.mmdb", mmdb.made(LYON)
    path.write_bytes(whole[: len(whole) // 2])
    for _ in range(5):
        assert atlas.of(HERE) == UNKNOWN
        clock.advance(CHECK_EVERY)
    complaints = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert len(complaints) == 1
    assert "city.mmdb cannot be used for places" in complaints[0].getMessage()
    path.write_bytes(whole)
    assert atlas.of(HERE).city == "Lyon"


def test_a_broken_record_takes_nothing_from_other_files(
    atlas: Atlas, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mmdb.write(folder / "bad.mmdb", {"203.0.113.0/24": mmdb.Raw(b"\xff" * 40)})
    mmdb.write(folder / "good.mmdb", LYON)
    for _ in range(3):
        assert atlas.of(HERE).city == "Lyon"
    assert len([one for one in caplog.records if one.levelno >= logging.WARNING]) == 1


def test_a_folder_that_is_none_is_unknown_with_one_line(
    atlas: Atlas, tmp_path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "geo").write_text("a file")
    for _ in range(3):
        assert atlas.of(HERE) == UNKNOWN
        clock.advance(CHECK_EVERY)
    assert len([one for one in caplog.records if one.levelno >= logging.WARNING]) == 1


def test_there_is_an_end_to_files(atlas: Atlas, folder: Path) -> None:
    for number in range(FILES_MAXIMUM + 5):
        mmdb.write(folder / f"{number:02}.mmdb", {})
    mmdb.write(folder / "99.mmdb", LYON)
    assert atlas.of(HERE) == UNKNOWN


def test_what_an_operator_wants_said_is_said_instead(folder: Path, clock: ManualClock) -> None:
    mmdb.write(folder / "dbip-city.mmdb", LYON)
    settings = GeoSettings(folder=str(folder), attribution="Places by us https://us.example")
    atlas = Atlas(settings, clock)
    assert [(one.text, one.url) for one in atlas.attributions()] == [
        ("Places by us", "https://us.example")
    ]
    atlas.close()


def test_files_are_replaced_while_many_ask(
    atlas: Atlas, folder: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    path = mmdb.write(folder / "city.mmdb", LYON)
    asking, seen = threading.Event(), set[str | None]()
    errors: list[Exception] = []
    asking.set()

    def ask() -> None:
        try:
            while asking.is_set():
                seen.add(atlas.of(HERE).city)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for round_number in range(60):
        mmdb.write(path, PARIS if round_number % 2 else LYON)
        clock.advance(CHECK_EVERY)
        atlas.of(HERE)
    asking.clear()
    for thread in threads:
        thread.join()
    assert errors == []
    assert seen == {"Lyon", "Paris"}
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []
