"""A copy of the database in one file, taken while the product runs, and checked before it is used.

A zip with `manifest.json` and `database`: a SQLite file (the online backup of SQLite), or what
`pg_dump --format=custom` makes. The manifest says which revision and which secret key it needs; the
key itself is not in it, so whoever finds a backup cannot open what is sealed, and whoever loses the
key cannot either. A MAC under that key holds manifest and contents together: what was changed since
is put back by nobody, and not even opened.
"""

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO

from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, make_url

from idp.errors import Refused
from idp.storage import migrations
from idp.storage.database import Database
from idp.storage.vault import Vault

# 1 had no MAC: whoever could change a file could make it one of those.
FORMAT = 2
_MANIFEST, _DATABASE = "manifest.json", "database"
_PURPOSE = "backup"
_LONGEST_SECONDS = 3_600
_CHUNK = 1 << 20
_MANIFEST_MAXIMUM = 16_384


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says of itself."""

    format: int
    kind: str
    revision: str
    made_at: str
    # Which `IDP_SECRET_KEY` it was made under (`Vault.key_id`).
    key_id: str
    sha256: str
    size: int
    # Of everything above, under that key.
    mac: str = ""

    def authentic(self) -> bytes:
        """What the MAC is of."""
        said = {name: value for name, value in asdict(self).items() if name != "mac"}
        return json.dumps(said, sort_keys=True).encode()


def create(database: Database, file: Path, *, made_at: str, vault: Vault) -> Manifest:
    """Writes a backup of a running database; raises `Refused` when the file is there already."""
    with database.read() as connection:
        revision = migrations.current(connection)
    if revision is None:
        raise Refused("empty_database", "The database is empty: there is nothing to back up.")
    if file.exists():
        raise Refused("file_exists", f"{file} is there already; name a new file.")
    url = database.url
    with tempfile.TemporaryDirectory(prefix="idp-backup-", dir=file.parent) as folder:
        copy = Path(folder) / _DATABASE
        _copy_out(url, copy)
        manifest = Manifest(
            format=FORMAT,
            kind=url.get_backend_name(),
            revision=revision,
            made_at=made_at,
            key_id=vault.key_id,
            sha256=_digest(copy),
            size=copy.stat().st_size,
        )
        manifest = replace(manifest, mac=vault.mac(manifest.authentic(), _PURPOSE).hex())
        packed = Path(folder) / "packed"
        # 0600 from its first byte: it holds everything.
        descriptor = os.open(packed, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with (
            os.fdopen(descriptor, "wb") as out,
            zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive,
        ):
            archive.writestr(_MANIFEST, json.dumps(asdict(manifest), indent=2))
            archive.write(copy, _DATABASE)
        with packed.open("rb") as written:
            os.fsync(written.fileno())
        packed.rename(file)
    return manifest


@contextmanager
def opened(file: Path, vault: Vault) -> Iterator[tuple[Manifest, Path]]:
    """A backup as it was made under a key of ours; raises `Refused` for any other file."""
    try:
        with (
            zipfile.ZipFile(file) as archive,
            tempfile.TemporaryDirectory(prefix="idp-restore-") as folder,
        ):
            with archive.open(_MANIFEST) as said:
                manifest = Manifest(**json.loads(said.read(_MANIFEST_MAXIMUM)))
            if manifest.format != FORMAT:
                raise Refused("backup", f"{file} is of a format that this version does not know.")
            _require_authentic(file, manifest, vault)
            copy = Path(folder) / _DATABASE
            with archive.open(_DATABASE) as packed, copy.open("wb") as out:
                _bounded_copy(packed, out, manifest.size)
            if _digest(copy) != manifest.sha256:
                raise Refused("backup", f"{file} is damaged: its contents are not what it says.")
            yield manifest, copy
    except (
        OSError,
        KeyError,
        TypeError,
        ValueError,
        RuntimeError,
        NotImplementedError,
        zipfile.BadZipFile,
    ) as error:
        raise Refused("backup", f"{file} is no backup of ours.", detail=str(error)) from None


def _require_authentic(file: Path, manifest: Manifest, vault: Vault) -> None:
    if not vault.knows(manifest.key_id):
        raise Refused(
            "backup",
            f"{file} was made under another IDP_SECRET_KEY; put that one into "
            "IDP_PREVIOUS_SECRET_KEYS, or nothing sealed in it can be read.",
        )
    if not vault.verify_mac(manifest.authentic(), _PURPOSE, bytes.fromhex(manifest.mac)):
        raise Refused("backup", f"{file} was changed since it was made. Nothing of it is used.")


def problem_with(manifest: Manifest, copy: Path) -> str | None:
    """Why a backup cannot be put back by this version, as a sentence; None when it can."""
    if manifest.revision not in migrations.revisions():
        return (
            f"The backup is of revision {manifest.revision}, which this version does not know; "
            "install the version that made it, or a newer one."
        )
    if manifest.kind == "sqlite":
        with closing(sqlite3.connect(f"file:{copy}?mode=ro", uri=True)) as connection:
            found = connection.execute("PRAGMA integrity_check").fetchone()
        if found != ("ok",):
            return f"The database in it is damaged: {found[0]}"
        return None
    listed = _postgres("pg_restore", "--list", str(copy))
    return None if listed else "The database in it is empty."


def put_back(manifest: Manifest, copy: Path, url: str) -> None:
    """Puts the database of a backup in the place of the one at `url`; nobody may be using that.

    From its first moment there the database is marked as not finished (`migrations.UNFINISHED`), and
    no node serves it: whoever was interrupted here must not leave alive what was revoked since.
    """
    target = make_url(url)
    if target.get_backend_name() != manifest.kind:
        raise Refused(
            "backup", f"The backup is of {manifest.kind}, the database of this deployment is not."
        )
    if manifest.kind == "sqlite":
        file = Path(target.database or "")
        beside = file.with_name(file.name + ".restored")
        beside.unlink(missing_ok=True)
        # 0600 from its first byte.
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as out, copy.open("rb") as packed:
            shutil.copyfileobj(packed, out)
        with closing(sqlite3.connect(beside)) as connection:
            connection.execute(f"CREATE TABLE IF NOT EXISTS {migrations.UNFINISHED} (at TEXT)")
            connection.commit()
        with beside.open("rb") as written:
            os.fsync(written.fileno())
        for rest in ("-wal", "-shm"):
            file.with_name(file.name + rest).unlink(missing_ok=True)
        beside.replace(file)
        return
    # Everything goes, also tables that the backup does not know.
    engine = create_engine(target, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(
                text(
                    "BEGIN; DROP SCHEMA public CASCADE; CREATE SCHEMA public; "
                    f"CREATE TABLE public.{migrations.UNFINISHED} (at text); COMMIT"
                )
            )
    finally:
        engine.dispose()
    _postgres(
        "pg_restore", "--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error",
        "--schema=public", str(copy),
        into=target,
    )  # fmt: skip


def _copy_out(url: URL, copy: Path) -> None:
    if url.get_backend_name() == "sqlite":
        with (
            closing(sqlite3.connect(f"file:{url.database}?mode=ro", uri=True)) as running,
            closing(sqlite3.connect(copy)) as made,
        ):
            running.backup(made)
        return
    _postgres("pg_dump", "--format=custom", f"--file={copy}", into=url)


def _postgres(program: str, *arguments: str, into: URL | None = None) -> str:
    """Runs a program of PostgreSQL; the password travels in the environment, not on the line."""
    environment = dict(os.environ)
    where: list[str] = []
    if into is not None:
        address = into.set(drivername="postgresql", password=None)
        where = [f"--dbname={address.render_as_string(hide_password=False)}"]
        if into.password:
            environment["PGPASSWORD"] = str(into.password)
    try:
        ran = subprocess.run(  # noqa: S603
            [program, *where, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=_LONGEST_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise Refused(
            "backup", f"{program} is not installed; it comes with PostgreSQL's client programs."
        ) from None
    if ran.returncode != 0:
        raise Refused("backup", f"{program} failed.", detail=ran.stderr.strip()[-500:])
    return ran.stdout


def _digest(file: Path) -> str:
    with file.open("rb") as read:
        return hashlib.file_digest(read, "sha256").hexdigest()


def _bounded_copy(packed: IO[bytes], out: IO[bytes], size: int) -> None:
    """Unpacks as many bytes as the manifest says and no more."""
    left = size
    while chunk := packed.read(min(_CHUNK, left + 1)):
        left -= len(chunk)
        if left < 0:
            raise ValueError("larger than it says")
        out.write(chunk)
