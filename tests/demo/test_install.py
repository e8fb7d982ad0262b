"""What the demo installs, and keeps when it is started again."""

import json
import socket
import stat
from pathlib import Path

import pytest

from idp.demo import processes
from idp.demo.install import Demo, Ports, install
from idp.errors import Refused
from idp.storage.database import Database

PORTS = Ports.following(8000)


def facts(demo: Demo) -> dict[str, object]:
    return json.loads((demo.folder / "demo.json").read_text())


def test_everything_a_script_needs_stands_in_one_file(tmp_path: Path) -> None:
    demo = install(tmp_path / "demo", PORTS)
    told = facts(demo)
    assert set(told) == {"issuer", "people", "clients", "apps"}
    assert told["issuer"] == "http://localhost:8000"
    assert [set(person) for person in told["people"]] == [{"username", "password"}] * 4
    members = {"client_id", "client_secret", "redirect_uris", "grant_types", "management"}
    assert [set(client) for client in told["clients"]] == [members] * 7
    assert [app["name"] for app in told["apps"]] == ["App One", "App Two", "API"]


def test_nobody_is_written_to_before_anything_happened(tmp_path: Path) -> None:
    install(tmp_path / "demo", PORTS)
    database = Database(f"sqlite:///{tmp_path / 'demo' / 'idp.db'}")
    with database.read() as connection:
        owed = connection.exec_driver_sql("SELECT count(*) FROM deliveries").scalar()
    database.close()
    assert owed == 0


def test_secrets_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    demo = install(tmp_path / "demo", PORTS)
    for name in ("demo.json", "secret_key"):
        assert stat.S_IMODE((demo.folder / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(demo.folder.stat().st_mode) == 0o700


def test_a_second_start_keeps_everything(tmp_path: Path) -> None:
    first = install(tmp_path / "demo", PORTS)
    key = (first.folder / "secret_key").read_text()
    assert facts(install(tmp_path / "demo", PORTS)) == first.facts
    assert (first.folder / "secret_key").read_text() == key


def test_moved_ports_move_the_addresses_and_nothing_else(tmp_path: Path) -> None:
    first = install(tmp_path / "demo", PORTS)
    second = install(tmp_path / "demo", Ports.following(9000))
    assert second.clients["app-one"]["redirect_uris"] == ["http://localhost:9001/callback"]
    assert second.clients["app-one"]["client_secret"] == first.clients["app-one"]["client_secret"]
    assert second.facts["people"] == first.facts["people"]


def test_a_password_may_be_chosen_and_changed(tmp_path: Path) -> None:
    install(tmp_path / "demo", PORTS, password="the first one")
    database = Database(f"sqlite:///{tmp_path / 'demo' / 'idp.db'}")
    hashes = "SELECT password_hash FROM users ORDER BY username"
    with database.read() as connection:
        before = connection.exec_driver_sql(hashes).scalars().all()
    demo = install(tmp_path / "demo", PORTS, password="the second one")
    with database.read() as connection:
        after = connection.exec_driver_sql(hashes).scalars().all()
    database.close()
    assert demo.facts["people"][0]["password"] == "the second one"
    assert not set(before) & set(after)


def test_a_lost_file_is_made_again_with_new_secrets(tmp_path: Path) -> None:
    first = install(tmp_path / "demo", PORTS)
    (first.folder / "demo.json").unlink()
    second = install(tmp_path / "demo", PORTS)
    assert second.clients["app-one"]["client_secret"] != first.clients["app-one"]["client_secret"]
    assert second.clients["command-line"]["client_secret"] is None


def test_a_taken_port_is_named_with_the_way_out() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Refused, match=rf"Port {port}.*first app.*PORT_BASE=9000"):
            processes.refuse_taken(Ports(0, port, 0, 0))
