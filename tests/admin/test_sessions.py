"""Sessions over the management API: searched by one grammar, seen, ended."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import event

from idp.admin import session_filter, session_search
from idp.clock import MINUTE, to_rfc3339
from idp.policy import management
from idp.sessions.prove import PASSWORD
from idp.storage.unit_of_work import UnitOfWork
from idp.users import totp
from tests.admin.conftest import Caller, good, problem, program
from tests.admin.test_users import reasons
from tests.harness import crowd
from tests.harness.enrolled import with_totp
from tests.harness.provider import Idp, Templates, settings_for
from tests.harness.workbench import ManualClock
from tests.web.conftest import LAPTOP, PHONE


def ids_of(page: dict[str, Any]) -> list[str]:
    return [one["id"] for one in page["items"]]


def test_a_session_is_listed_and_shown_with_what_happened_in_it(idp: Idp, robot: Caller) -> None:
    app = idp.register(name="Notes")
    anna = idp.person("anna")
    started = idp.session(anna, agent=LAPTOP, ip="10.1.2.3")
    idp.grant(app, started)
    (listed,) = robot.get("/sessions")["items"]
    assert listed["id"] == started.session.id
    assert listed["user"] == {"id": anna.id, "username": "anna"}
    assert (listed["device"]["type"], listed["ip"], listed["acr"]) == (
        "desktop",
        "10.1.2.3",
        "aal1",
    )
    assert listed["apps"] == [{"client_id": app.id, "name": "Notes", "state": "active"}]
    shown = robot.get(f"/sessions/{started.session.id}")
    assert {name: shown[name] for name in listed} == listed
    assert [one["type"] for one in shown["timeline"]] == ["authorization.issued", "session.created"]
    assert shown["user_agent"] == LAPTOP
    for secret in (started.secret, started.session.secret_hash):
        assert secret not in str(shown)


def test_every_term_finds_what_it_means(either_idp: Idp) -> None:
    idp = either_idp
    caller, begun = program(idp, "sessions:read"), idp.clock.now()
    anna, bob, carol = (idp.person(name) for name in ("anna", "bob", "carol"))
    laptop = idp.session(anna, agent=LAPTOP, ip="10.1.2.3").session.id
    phone = idp.session(anna, agent=PHONE, ip="192.0.2.77").session.id
    idp.execute("UPDATE sessions SET country = 'FR', asn = 64500 WHERE id = :id", id=phone)
    idp.clock.advance(MINUTE)
    app, started = idp.register(name="Payroll"), idp.session(bob, agent=PHONE, ip="2001:db8::7")
    idp.grant(app, started)
    bobs = started.session.id
    factors = with_totp(idp, carol)
    with idp.work.begin() as unit:
        proof = totp.verify(unit, carol.id, factors.code())
    assert proof is not None
    strong = idp.session(carol, agent=LAPTOP, ip="10.1.2.4", proved=(PASSWORD, proof)).session.id
    gone = idp.session(carol, agent=LAPTOP, ip="10.9.9.9").session.id
    idp.end(gone, "signed_out")
    noon = to_rfc3339(begun + MINUTE // 2)
    later = to_rfc3339(idp.clock.now() + MINUTE)
    expected: dict[str, set[str]] = {
        "": {laptop, phone, bobs, strong},
        "user:anna": {laptop, phone},
        f"user:{bob.id}": {bobs},
        "user:ANNA@example.com": {laptop, phone},
        "user:nobody": set(),
        "ip:10.0.0.0/8": {laptop, strong},
        "ip:10.1.2.3": {laptop},
        "ip:0.0.0.0/0": {laptop, strong, phone},
        "ip:2001:db8::/32": {bobs},
        "ip:::/0": {bobs},
        "ip:10.0.0.0/8 state:all": {laptop, strong, gone},
        "country:FR": {phone},
        "asn:AS64500": {phone},
        "device:phone": {phone, bobs},
        f"client:{app.id}": {bobs},
        "client:nothing": set(),
        "acr:aal2": {strong},
        "acr<aal2": {laptop, phone, bobs},
        "origin:browser": {laptop, phone, bobs, strong},
        "origin:handoff": set(),
        "state:ended": {gone},
        "reason:signed_out": {gone},
        "reason:admin": set(),
        "state:all": {laptop, phone, bobs, strong, gone},
        f"created>={noon}": {bobs, strong},
        f"created<{noon}": {laptop, phone},
        f"active<{noon} device:phone": {phone},
        f"ended<{later} ended>={noon}": {gone},
        "user:anna ip:10.0.0.0/8 device:desktop acr:aal1": {laptop},
        "user:carol state:all": {strong, gone},
    }
    for text, wanted in expected.items():
        assert set(ids_of(caller.get("/sessions", q=text or "state:active"))) == wanted, text
    assert ids_of(caller.get("/sessions", user="anna", device="phone")) == [phone]
    assert ids_of(caller.get("/sessions", q="user:anna", device="phone")) == [phone]
    assert ids_of(caller.get("/sessions", created_after=noon, acr="aal2")) == [strong]
    assert ids_of(caller.get("/sessions", state="ended", ended_before=later)) == [gone]
    crossed = caller("GET", "/sessions", params={"q": "user:anna", "user": "bob"})
    assert problem(crossed) == (400, "invalid_filter")
    for asked in (
        {"q": "x"},
        {"ip": "x"},
        {"sort": "ended_at"},
        {"sort": "name"},
        {"q": " " * 1_001},
    ):
        assert problem(caller("GET", "/sessions", params=asked))[0] == 400, asked


def test_a_session_that_ran_out_is_not_among_those_that_run(idp: Idp, robot: Caller) -> None:
    idp.session(idp.person("anna"))
    assert len(robot.get("/sessions")["items"]) == 1
    caller = program(idp, "sessions:read")
    idp.clock.advance(61 * MINUTE)
    late = program(idp, "sessions:read")
    assert late.get("/sessions")["items"] == []
    assert problem(caller("GET", "/sessions"))[0] == 401


def test_ending_one_says_what_it_did_and_why(idp: Idp, root: Caller) -> None:
    app = idp.register(name="Notes", backchannel_logout_uri="http://127.0.0.1:1/logout")
    started = idp.session(idp.person("anna"))
    tokens = idp.grant(app, started)
    path = f"/sessions/{started.session.id}"
    assert root.post(f"{path}/end", reason="reported stolen") == {
        "sessions_ended": 1,
        "apps": [{"client_id": app.id, "name": "Notes", "state": "telling"}],
    }
    assert not idp.is_active(app, tokens["access_token"])
    assert reasons(idp, "session.ended") == [("admin", root.user.id, "reported stolen")]
    assert root.post(f"{path}/end", reason="again")["sessions_ended"] == 0
    shown = root.get(path)
    assert (shown["end_reason"], shown["ended_by"], shown["ended_by_id"]) == (
        "admin", "admin", root.user.id,
    )  # fmt: skip
    assert shown["apps_told"] == [{"client_id": app.id, "name": "Notes", "state": "telling"}]


@pytest.mark.attack("AD-04")
def test_nobody_ends_the_session_of_whoever_has_more_rights(idp: Idp) -> None:
    boss = idp.session(idp.person("boss", roles=["administrator"])).session.id
    helper = program(idp, "sessions:revoke", "sessions:read")
    refused = helper("POST", f"/sessions/{boss}/end", json={"reason": "x"})
    assert problem(refused) == (403, "above_you")
    assert boss in ids_of(helper.get("/sessions"))


def test_who_had_everything_before_a_version_with_new_scopes_is_below_nobody_for_it(
    either_idp: Idp,
) -> None:
    """Queries came later than programs and roles that had every right until then."""
    idp = either_idp
    boss = idp.person("boss", roles=["administrator"])
    older = program(idp, *sorted(management.POWER))
    one, two = (idp.session(boss).session.id for _ in range(2))
    assert older.post(f"/sessions/{one}/end", reason="x")["sessions_ended"] == 1
    path, key = "/sessions/revoke", {"idempotency-key": "k"}
    meant = {"filter": {"user": "boss"}, "reason": "x", "dry_run": True}
    assert older.post(path, **meant)["matched"] == 1
    done = good(older("POST", path, headers=key, json={"filter": {"all": True}, "reason": "x"}))
    assert done["operation"]["effective_at"] is not None
    assert older.get(f"/sessions/{two}")["end_reason"] == "admin"


# --- very many ------------------------------------------------------------------------------------

MANY = 1_500


def walked(caller: Caller, **asked: Any) -> tuple[list[str], int]:
    """Every session of a search, and how many pages it took."""
    found, pages, token = [], 0, None
    while True:
        page = caller.get(
            "/sessions", page_size=200, **asked, **({"page_token": token} if token else {})
        )
        found += ids_of(page)
        pages, token = pages + 1, page["next_page_token"]
        if token is None:
            return found, pages


@pytest.mark.attack("AD-07")
def test_pages_lead_to_every_session_once_however_few_rows_each_looks_at(
    either_idp: Idp, monkeypatch: pytest.MonkeyPatch
) -> None:
    idp = either_idp
    made = crowd.gather(idp.work, MANY)
    caller = program(idp, "sessions:read")
    listed, _ = walked(caller)
    assert sorted(listed) == sorted(made.running)
    for sort in ("last_active_at", "created_at", "-created_at"):
        found, _ = walked(caller, sort=sort)
        assert sorted(found) == sorted(made.running)
    with idp.work.read() as unit:
        rows = unit.connection.exec_driver_sql(
            "SELECT id FROM sessions WHERE ended_at IS NULL ORDER BY last_active_at DESC, id DESC"
        ).scalars()
        assert listed == list(rows)
    # A page looks at so many rows and no more, and says where to go on.
    monkeypatch.setattr(session_search, "WALKED_IN_INDEX", 150)
    monkeypatch.setattr(session_search, "WALKED", 150)
    monkeypatch.setattr(session_search, "NARROW", 10)
    for text, condition in (
        ("country:IS", "ended_at IS NULL AND country = 'IS'"),
        ("ip:10.0.0.0/8 device:tablet", "ended_at IS NULL AND device_type = 'tablet' AND address "
         "BETWEEN '00000000000000000000ffff0a000000' AND '00000000000000000000ffff0affffff'"),
        ("reason:admin country:FR", "end_reason = 'admin' AND country = 'FR'"),
        ("state:all device:terminal", "device_type = 'terminal'"),
    ):  # fmt: skip
        found, pages = walked(caller, q=text)
        with idp.work.read() as unit:
            wanted = unit.connection.exec_driver_sql(
                f"SELECT id FROM sessions WHERE {condition}"
            ).scalars()
            assert sorted(found) == sorted(wanted), text
        assert pages > 3, text


@pytest.mark.attack("AD-07")
def test_what_an_index_holds_is_not_looked_up_in_the_table(
    many: Idp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that many more of a rare kind are looked at for one page, in all three kinds of lists."""
    monkeypatch.setattr(session_search, "WALKED", 10)
    with many.work.read() as unit:
        for text, is_held in (
            ("country:IS", True),
            ("reason:admin country:IS ip:10.0.0.0/8", True),
            ("state:all country:IS acr:aal2", True),
            ("state:all country:IS ended>2020-01-01", False),
        ):
            found = session_search.page(unit, session_filter.parse(text), limit=200)
            assert (found.next_key is None) is is_held, text
        plans = explained(
            unit, lambda: session_search.page(unit, session_filter.parse("state:all country:IS"))
        )
    if unit.is_sqlite:
        assert any("COVERING INDEX ix_sessions_created" in plan for plan in plans)


def test_what_is_common_is_found_without_a_long_walk(many: Idp) -> None:
    """To find where a page must stop looking costs as much as looking at every row before it."""
    with many.work.read() as unit:
        for text, statements in (("country:FR", 3), ("country:LI", 5)):
            meant = session_filter.parse(text)
            plans = explained(unit, lambda meant=meant: session_search.page(unit, meant))
            # Where the stretch ends and what is in it, once or twice, and the rows themselves.
            assert len(plans) == statements, plans


@pytest.mark.attack("AD-07")
@pytest.mark.parametrize("narrow", [10, 2_000])
def test_sessions_of_an_app_are_counted_from_its_side(
    many: Idp, narrow: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few or many: to ask of each session whether the app is in it takes seconds among a million."""
    monkeypatch.setattr(session_search, "NARROW", narrow)
    with many.work.read() as unit:
        by_app = unit.connection.exec_driver_sql(
            "SELECT client_id, count(*) FROM authorizations JOIN sessions ON sessions.id = session_id "
            "WHERE sessions.ended_at IS NULL GROUP BY client_id"
        )
        for client_id, running in by_app.all()[:4]:
            meant = session_filter.parse(f"client:{client_id}")
            assert session_search.count(unit, meant, management.ALL) == running
        plans = explained(unit, lambda: session_search.count(unit, meant, management.ALL))
    if unit.is_sqlite:
        assert "ix_authorizations_client (client_id=?)" in plans[-1]
        assert "SEARCH sessions USING PRIMARY KEY (id=?)" in plans[-1]


@pytest.mark.attack("AD-07")
@pytest.mark.parametrize(
    "text",
    [
        "", "country:FR device:phone", "client:x", "user:usr_x", "ip:10.1.2.0/24", "ip:10.0.0.0/8",
        "state:ended", "reason:admin country:FR", "state:all acr:aal2", "user:usr_x state:all",
    ],
)  # fmt: skip
def test_no_search_reads_the_whole_table(
    many: Idp, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P4: an index leads to every page."""
    monkeypatch.setattr(session_search, "WALKED_IN_INDEX", 200)
    monkeypatch.setattr(session_search, "WALKED", 200)
    meant = session_filter.parse(text)
    with many.work.read() as unit:
        plans = explained(unit, lambda: session_search.page(unit, meant, after=None))
    # What is left to sort is the bounded stretch that the index has led to.
    for plan in plans:
        if plan.startswith("SELECT count") and "/8" in text:
            continue  # whether a network is narrow: of a wide one the first rows that come will do
        for sign in ("SCAN sessions\n", "Seq Scan on sessions"):
            assert sign not in plan, plan


@pytest.fixture(
    scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
)
def many(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, templates: Templates
) -> Iterator[Idp]:
    """A provider with many sessions, and a database that knows how many."""

    def gathered(url: str) -> Idp:
        made = Idp(settings_for(url), ManualClock())
        crowd.gather(made.work, 8_000)
        with made.work.database.write() as connection:
            connection.exec_driver_sql("ANALYZE")
        return made

    if request.param == "sqlite":
        made = gathered(templates.sqlite(tmp_path_factory.mktemp("many") / "idp.db"))
        yield made
        made.close()
    else:
        with templates.postgres() as url:
            made = gathered(url)
            yield made
            made.close()


def explained(unit: UnitOfWork, search: Callable[[], object]) -> list[str]:
    """How the database goes about each statement of a search."""
    asked: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, sql: str, parameters: Any, _x: Any, _many: Any) -> None:
        asked.append((sql, parameters))

    event.listen(unit.connection, "before_cursor_execute", note)
    search()
    event.remove(unit.connection, "before_cursor_execute", note)
    explain = "EXPLAIN QUERY PLAN " if unit.is_sqlite else "EXPLAIN "
    plans = []
    for sql, parameters in asked:
        if "FROM sessions" in sql:
            rows = unit.connection.exec_driver_sql(explain + sql, parameters).all()
            plans.append(sql + "\n" + "\n".join(str(row[-1]) for row in rows) + "\n")
    assert plans
    return plans
