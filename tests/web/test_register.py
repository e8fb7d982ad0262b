"""Apps that register themselves, and manage what they registered (RFC 7591, RFC 7592)."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response

from idp import ids
from idp.clock import DAY
from idp.errors import Refused
from idp.oauth import clients, initial_access, registration
from idp.oauth.model import Client, InitialAccessToken
from idp.oauth.registration_token import GRACE
from tests.harness.provider import ADMIN, Flow, Idp, Registered, Templates, settings_for
from tests.harness.workbench import ManualClock

APP = {
    "client_name": "Notes",
    "redirect_uris": ["https://notes.example/callback"],
    "grant_types": ["authorization_code", "refresh_token"],
}


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def registering(
    request: pytest.FixtureRequest, tmp_path: Path, templates: Templates, clock: ManualClock
) -> Iterator[Idp]:
    """A provider on SQLite, and again on PostgreSQL, where apps may register themselves."""
    if request.param == "sqlite":
        made = Idp(settings_for(templates.sqlite(tmp_path / "idp.db"), registration=True), clock)
        yield made
        made.close()
    else:
        with templates.postgres() as url:
            made = Idp(settings_for(url, registration=True), clock)
            yield made
            made.close()


@pytest.fixture
def open_idp(tmp_path: Path, templates: Templates, clock: ManualClock) -> Iterator[Idp]:
    """A provider on SQLite where apps may register themselves."""
    made = Idp(settings_for(templates.sqlite(tmp_path / "idp.db"), registration=True), clock)
    yield made
    made.close()


def leave(idp: Idp, **values: Any) -> str:
    """An initial access token for apps at notes.example, ten of them."""
    usual: dict[str, Any] = {
        "name": "Notes team",
        "scope": "openid profile email",
        "grant_types": ["authorization_code", "refresh_token"],
        "redirect_hosts": ["notes.example"],
        "uses": 10,
        "seconds": 86_400,
    }
    with idp.work.begin() as unit:
        return initial_access.allow(unit, **(usual | values), actor=ADMIN)[1]


def call(idp: Idp, method: str, path: str, token: str | None, body: Any = None) -> Response:
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    return idp.browser().request(method, path, headers=headers, json=body)


def registered(idp: Idp, token: str | None = None, **changes: Any) -> dict[str, Any]:
    answer = call(idp, "POST", "/register", token or leave(idp), APP | changes)
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    found: dict[str, Any] = answer.json()
    return found


def refusal(answer: Response) -> tuple[int, str]:
    assert answer.json().keys() == {"error", "error_description"}
    return answer.status_code, answer.json()["error"]


def manage(idp: Idp, method: str, app: dict[str, Any], body: Any = None) -> Response:
    path = str(app["registration_client_uri"]).removeprefix(idp.settings.issuer)
    return call(idp, method, path, app["registration_access_token"], body)


def again(app: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """What an app sends to replace its registration."""
    return APP | {"client_id": app["client_id"]} | changes


def test_there_is_no_such_address_unless_the_deployment_wants_it(idp: Idp, open_idp: Idp) -> None:
    assert idp.browser().post("/register", json=APP).status_code == 404
    for one, expected in ((idp, None), (open_idp, "http://localhost:8000/register")):
        known = one.browser().get("/.well-known/openid-configuration").json()
        assert known.get("registration_endpoint") == expected


def test_an_app_registers_and_signs_somebody_in_who_is_asked(registering: Idp) -> None:
    idp = registering
    app = registered(idp)
    assert {name: app[name] for name in APP} == APP
    assert app["client_secret_expires_at"] == 0
    assert app["client_id_issued_at"] == idp.clock.now() // 1_000_000
    assert (app["scope"], app["response_types"]) == ("openid profile email", ["code"])
    # OpenID Connect Dynamic Client Registration section 2 has these defaults.
    assert app["id_token_signed_response_alg"] == "RS256"
    assert app["token_endpoint_auth_method"] == "client_secret_basic"
    client = Registered(app["client_id"], app["client_secret"], APP["redirect_uris"][0])
    browser = idp.signed_in_browser(idp.session(idp.person()))
    asked = browser.get("/authorize", params=Flow(client).parameters())
    assert asked.headers["location"].startswith("/consent")
    (made,) = [one for one in idp.events("client.created") if one["client_id"] == client.id]
    assert (made["actor"], made["actor_id"]) == ("client", client.id)
    assert '"registered_with":"ini_' in made["data"]


def test_only_digests_of_the_tokens_are_kept(open_idp: Idp) -> None:
    token = leave(open_idp)
    app = registered(open_idp, token)
    with open_idp.work.read() as unit:
        client = unit.orm.get_one(Client, app["client_id"])
        assert client.registration_hash == ids.digest(app["registration_access_token"])
        kept = unit.orm.get_one(InitialAccessToken, client.registered_with)
        assert (kept.token_hash, kept.uses_left) == (ids.digest(token), 9)


@pytest.mark.attack("CL-04")
def test_without_leave_nobody_registers(open_idp: Idp, clock: ManualClock) -> None:
    idp = open_idp
    good, late, gone = leave(idp), leave(idp, seconds=60), leave(idp)
    with idp.work.begin() as unit:
        row = next(one for one in initial_access.all_of(unit) if one.token_hash == ids.digest(gone))
        initial_access.revoke(unit, row, ADMIN)
    clock.advance(60_000_000)
    before = idp.count("clients")
    person_token = idp.grant(idp.register(), idp.session(idp.person()))["access_token"]
    for token in (None, "", "x" * 43, late, gone, good[:-1], person_token):
        answer = call(idp, "POST", "/register", token, APP)
        assert refusal(answer) == (401, "invalid_token")
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert idp.count("clients") == before + 1
    assert registered(idp, good)["client_id"]


@pytest.mark.attack("CL-04")
def test_a_token_for_one_app_makes_one_however_many_ask_at_once(registering: Idp) -> None:
    token = leave(registering, uses=1)
    with ThreadPoolExecutor(6) as pool:
        answers = list(
            pool.map(lambda _: call(registering, "POST", "/register", token, APP), range(6))
        )
    assert sorted(one.status_code for one in answers) == [201] + [401] * 5
    assert registering.count("clients") == 1


@pytest.mark.attack("CL-01")
@pytest.mark.parametrize(
    "name",
    sorted(
        {column.key for column in Client.__table__.columns}
        - {"client_uri", "jwks", "jwks_uri", "scope", "backchannel_logout_uri", "redirect_uris"}
        - {"id_token_signed_response_alg", "post_logout_redirect_uris", "grant_types"}
        - {"token_endpoint_auth_method", "application_type"}
    ),
)
def test_nothing_that_administrators_decide_can_be_registered(open_idp: Idp, name: str) -> None:
    token = leave(open_idp, uses=1)
    answer = call(open_idp, "POST", "/register", token, APP | {name: 1})
    assert refusal(answer) == (400, "invalid_client_metadata")
    # Nothing of the token was spent by what was refused.
    app = registered(open_idp, token)
    changed = manage(open_idp, "PUT", app, again(app) | {name: 1})
    assert refusal(changed) == (400, "invalid_client_metadata")


@pytest.mark.attack("CL-01")
@pytest.mark.parametrize("name", ["first_party", "management", "introspects_all"])
def test_not_even_administrators_make_it_more_than_a_stranger(open_idp: Idp, name: str) -> None:
    app = registered(open_idp)
    with open_idp.work.read() as unit:
        client = unit.orm.get_one(Client, app["client_id"])
        with pytest.raises(Refused, match="stays a stranger"):
            clients.change(unit, client, **{name: 1}, actor=ADMIN)


@pytest.mark.attack("RU-02")
@pytest.mark.attack("RU-07")
@pytest.mark.attack("RU-10")
@pytest.mark.attack("CL-02")
@pytest.mark.parametrize(
    "uri",
    [
        "https://evil.example/callback", "https://notes.example.evil.example/callback",
        "https://xnotes.example/callback", "https://*.notes.example/callback",
        "https://notes.example/callback#part", "https://notes.example@evil.example/callback",
        "https://evil.example\\@notes.example/callback", "http://notes.example/callback",
        "JaVaScRiPt:alert(1)", "javascript://notes.example/%0aalert(1)", "data:text/html,x",
        "\thttps://notes.example/callback", "https://NOTES.example/callback", "com.evil.app:/cb",
        "https://sub.notes.example/callback", "https://notes.example/a/..;/b",
    ],
)  # fmt: skip
def test_a_redirect_uri_elsewhere_or_odd_is_refused(open_idp: Idp, uri: str) -> None:
    token = leave(open_idp)
    for kind in ("web", "native"):
        body = APP | {"redirect_uris": [APP["redirect_uris"][0], uri], "application_type": kind}
        answer = call(open_idp, "POST", "/register", token, body)
        assert refusal(answer) == (400, "invalid_redirect_uri")
    assert open_idp.count("clients") == 0


@pytest.mark.parametrize(
    ("host", "allowed", "refused"),
    [
        (".example.com", "https://a.example.com/", "https://example.com/"),
        (".example.com", "https://a.b.example.com/", "https://badexample.com/"),
        ("127.0.0.1", "http://127.0.0.1:9/", "http://127.0.0.10:9/"),
        ("[::1]", "http://[::1]:9/", "http://[::2]:9/"),
        ("com.example.app:", "com.example.app:/callback", "com.example.app.evil:/callback"),
        ("com.example.app:", "com.example.app://any/callback", "https://any/callback"),
        ("app.example.com", "https://app.example.com/", "com.evil.app://app.example.com/"),
    ],
)
@pytest.mark.attack("CL-02")
def test_hosts_are_compared_label_by_label(host: str, allowed: str, refused: str) -> None:
    token = InitialAccessToken(redirect_hosts=[host])
    assert initial_access.allows_address(token, allowed)
    assert not initial_access.allows_address(token, refused)


@pytest.mark.parametrize(
    "said",
    [
        {"scope": "openid sessions"}, {"scope": "users:read"},
        {"grant_types": ["client_credentials"]}, {"grant_types": ["password"]},
        {"response_types": ["token"]}, {"response_types": ["code", "id_token"]},
        {"subject_type": "pairwise"}, {"sector_identifier_uri": "https://notes.example/s.json"},
        {"token_endpoint_auth_method": "client_secret_jwt"}, {"application_type": "spa"},
        {"token_endpoint_auth_method": "private_key_jwt"}, {"client_name": ["x"]},
        {"jwks": {"keys": [{"kty": "oct", "k": "AAAA"}]}}, {"jwks": "x"},
        {"jwks_uri": "http://169.254.169.254/keys"}, {"jwks_uri": "https://evil.example/keys"},
        {"client_uri": "https://evil.example\\@notes.example/"},
        {"client_uri": "https://evil.example@notes.example/"},
        {"backchannel_logout_uri": "http://10.0.0.1/"}, {"client_uri": "https://bank.example/"},
        {"post_logout_redirect_uris": ["https://evil.example/"]},
        {"id_token_signed_response_alg": "none"}, {"id_token_encrypted_response_alg": "RSA-OAEP"},
        {"request_object_signing_alg": "none"}, {"default_max_age": 60}, {"client_name": "\u202ex"},
        {"redirect_uris": []}, {"redirect_uris": ["https://notes.example/"] * 51},
    ],
    ids=str,
)  # fmt: skip
def test_what_an_app_may_not_be_is_refused(open_idp: Idp, said: dict[str, Any]) -> None:
    answer = call(open_idp, "POST", "/register", leave(open_idp), APP | said)
    assert refusal(answer) == (400, "invalid_client_metadata")
    assert open_idp.count("clients") == 0


@pytest.mark.attack("SS-07")
def test_a_software_statement_is_refused_and_what_nobody_knows_is_ignored(open_idp: Idp) -> None:
    stated = call(open_idp, "POST", "/register", leave(open_idp), APP | {"software_statement": "x"})
    assert refusal(stated) == (400, "invalid_software_statement")
    app = registered(open_idp, logo_uri="https://evil.example/bank.png", extension={"a": 1})
    assert not {"logo_uri", "extension"} & app.keys()


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"client_name":"a","client_name":"b"}'])
def test_what_is_no_object_is_refused(open_idp: Idp, body: bytes) -> None:
    headers = {"Authorization": f"Bearer {leave(open_idp)}", "Content-Type": "application/json"}
    answer = open_idp.browser().post("/register", content=body, headers=headers)
    assert refusal(answer) == (400, "invalid_client_metadata")


def test_an_app_without_a_name_is_called_after_where_it_is(open_idp: Idp) -> None:
    assert registered(open_idp, client_name=None)["client_name"] == "notes.example"


def test_an_app_changes_and_removes_its_registration(registering: Idp) -> None:
    idp = registering
    app = registered(idp, post_logout_redirect_uris=["https://notes.example/bye"])
    same = manage(idp, "GET", app).json()
    assert same == {name: one for name, one in app.items() if not name.startswith("client_secret")}
    body = again(app, client_name="Better", client_secret=app["client_secret"])
    changed = manage(idp, "PUT", app, body)
    assert changed.status_code == 200, changed.text
    new = changed.json()
    assert new["client_name"] == "Better"
    # What was left out is as usual again.
    assert new["post_logout_redirect_uris"] == []
    assert new["registration_access_token"] != app["registration_access_token"]
    assert idp.events("client.changed")[-1]["actor_id"] == app["client_id"]
    assert manage(idp, "DELETE", new).status_code == 204
    assert refusal(manage(idp, "GET", new)) == (401, "invalid_token")
    assert idp.count("clients") == 0


def test_an_update_says_whose_it_is_and_nothing_that_is_ours_to_say(open_idp: Idp) -> None:
    app = registered(open_idp)
    for body in (
        APP,
        again(app) | {"client_id": "cli_other"},
        again(app) | {"client_secret": "chosen"},
        again(app) | {"registration_access_token": app["registration_access_token"]},
        again(app) | {"client_id_issued_at": 1},
        again(app) | {"token_endpoint_auth_method": "none"},
        again(app) | {"scope": "openid sessions"},
    ):
        assert refusal(manage(open_idp, "PUT", app, body)) == (400, "invalid_client_metadata")
    elsewhere = again(app) | {"redirect_uris": ["https://evil.example/"]}
    assert refusal(manage(open_idp, "PUT", app, elsewhere)) == (400, "invalid_redirect_uri")
    assert manage(open_idp, "GET", app).json()["client_name"] == "Notes"


def test_an_app_keeps_an_address_that_it_has_and_gets_no_other_of_its_kind(open_idp: Idp) -> None:
    app = registered(open_idp)
    old = "https://notes.example/callback?state=x"
    open_idp.execute("UPDATE clients SET redirect_uris = :uris", uris=f'["{old}"]')
    another = manage(open_idp, "PUT", app, again(app) | {"redirect_uris": [old, f"{old}y"]})
    assert refusal(another) == (400, "invalid_redirect_uri")
    kept = manage(open_idp, "PUT", app, again(app) | {"redirect_uris": [old]})
    assert kept.json()["redirect_uris"] == [old]


REUSED = "registration.reuse_detected"


def test_an_answer_that_was_lost_locks_nobody_out(registering: Idp, clock: ManualClock) -> None:
    idp = registering
    first = registered(idp)
    lost = manage(idp, "PUT", first, again(first, client_name="Better")).json()
    clock.advance(GRACE - 1)
    # Whoever asks again with the old one is given the same new one, by either way.
    for answer in (
        manage(idp, "PUT", first, again(first, client_name="Best")),
        manage(idp, "GET", first),
    ):
        assert answer.status_code == 200
        new = answer.json()
        assert new["registration_access_token"] == lost["registration_access_token"]
    assert new["client_name"] == "Best"
    assert manage(idp, "GET", new).status_code == 200
    clock.advance(DAY)
    assert manage(idp, "PUT", new, again(new)).status_code == 200
    assert idp.events(REUSED) == []


@pytest.mark.attack("RT-01")
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_copy_of_a_token_that_was_replaced_ends_both(open_idp: Idp, method: str) -> None:
    idp = open_idp
    first = registered(idp)
    second = manage(idp, "PUT", first, again(first)).json()
    assert manage(idp, "GET", second).status_code == 200
    # Now that the newest was seen, the older one is a copy, whoever shows it.
    body = again(first, client_name="Evil") if method == "PUT" else None
    assert refusal(manage(idp, method, first, body)) == (401, "invalid_token")
    for token in (first, second):
        assert refusal(manage(idp, "GET", token)) == (401, "invalid_token")
    (event,) = idp.events(REUSED)
    assert event["client_id"] == first["client_id"]
    with idp.work.read() as unit:
        assert unit.orm.get_one(Client, first["client_id"]).name == "Notes"


@pytest.mark.attack("RT-01")
def test_a_stolen_token_does_not_replace_what_its_owner_was_given(open_idp: Idp) -> None:
    """Each time it is shown it gives the owner's, so the two part ways at the owner's next use."""
    idp = open_idp
    stolen = registered(idp)
    owners = manage(idp, "PUT", stolen, again(stolen)).json()
    thiefs = manage(idp, "PUT", stolen, again(stolen)).json()
    assert owners["registration_access_token"] == thiefs["registration_access_token"]
    assert manage(idp, "GET", owners).status_code == 200
    assert refusal(manage(idp, "PUT", stolen, again(stolen))) == (401, "invalid_token")
    assert len(idp.events(REUSED)) == 1


def test_the_time_for_a_lost_answer_passes(open_idp: Idp, clock: ManualClock) -> None:
    first = registered(open_idp)
    second = manage(open_idp, "PUT", first, again(first)).json()
    clock.advance(GRACE)
    assert refusal(manage(open_idp, "PUT", first, again(first))) == (401, "invalid_token")
    assert refusal(manage(open_idp, "GET", second)) == (401, "invalid_token")
    assert len(open_idp.events(REUSED)) == 1


def test_of_two_that_were_replaced_the_older_is_unknown_and_ends_nothing(open_idp: Idp) -> None:
    first = registered(open_idp)
    second = manage(open_idp, "PUT", first, again(first)).json()
    third = manage(open_idp, "PUT", second, again(second)).json()
    assert refusal(manage(open_idp, "GET", first)) == (401, "invalid_token")
    assert manage(open_idp, "GET", third).status_code == 200


def test_a_token_that_was_replaced_before_an_upgrade_ends_nothing(open_idp: Idp) -> None:
    first = registered(open_idp)
    second = manage(open_idp, "PUT", first, again(first)).json()
    open_idp.execute(
        "UPDATE clients SET registration_rotated_at = NULL, unseen_registration_token = NULL"
    )
    assert refusal(manage(open_idp, "GET", first)) == (401, "invalid_token")
    assert manage(open_idp, "GET", second).status_code == 200


@pytest.mark.attack("RT-02")
def test_a_token_shown_by_many_at_once_gives_one(registering: Idp) -> None:
    idp = registering
    first = registered(idp)
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda _: manage(idp, "PUT", first, again(first)), range(6)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["registration_access_token"] for answer in answers}) == 1


@pytest.mark.attack("AD-02")
def test_a_token_manages_its_own_app_alone(open_idp: Idp) -> None:
    idp, initial = open_idp, leave(open_idp)
    one, other = registered(idp, initial), registered(idp, initial)
    made_by_us = idp.register()
    for client_id in (other["client_id"], made_by_us.id, "cli_none", "%00"):
        for method, body in (("GET", None), ("PUT", again(other)), ("DELETE", None)):
            token = one["registration_access_token"]
            answer = call(idp, method, f"/register/{client_id}", token, body)
            assert answer.status_code in (401, 404), answer.text
    assert refusal(call(idp, "GET", f"/register/{one['client_id']}", initial))[0] == 401
    assert manage(idp, "GET", other).status_code == 200


def test_what_an_administrator_changed_or_disabled_changes_itself_no_more(open_idp: Idp) -> None:
    idp, initial = open_idp, leave(open_idp)
    cut, disabled = registered(idp, initial), registered(idp, initial)
    with idp.work.begin() as unit:
        clients.change(
            unit, unit.orm.get_one(Client, cut["client_id"]), scope="openid", actor=ADMIN
        )
        clients.set_enabled(
            unit,
            unit.orm.get_one(Client, disabled["client_id"]),
            is_enabled=False,
            actor=ADMIN,
        )
    for app in (cut, disabled):
        assert refusal(manage(idp, "PUT", app, again(app))) == (401, "invalid_token")
        assert refusal(manage(idp, "DELETE", app)) == (401, "invalid_token")


def test_bounds_outlive_the_token(open_idp: Idp, clock: ManualClock) -> None:
    app = registered(open_idp)
    clock.advance(30 * DAY)
    wide = again(app) | {"redirect_uris": ["https://evil.example/"]}
    assert refusal(manage(open_idp, "PUT", app, wide)) == (400, "invalid_redirect_uri")
    assert manage(open_idp, "PUT", app, again(app, client_name="Later")).status_code == 200


@pytest.mark.parametrize(
    "odd",
    [
        {"scope": "openid users:read"}, {"grant_types": ["password"]}, {"grant_types": []},
        {"redirect_hosts": []}, {"redirect_hosts": ["*"]}, {"redirect_hosts": ["*.example"]},
        {"redirect_hosts": ["https://a.example"]}, {"redirect_hosts": ["a.example/"]},
        {"redirect_hosts": ["https:"]}, {"redirect_hosts": ["A.example"]},
        {"redirect_hosts": [""]}, {"redirect_hosts": ["."]}, {"uses": 0}, {"uses": 1_001},
        {"seconds": 59}, {"seconds": 367 * 86_400}, {"name": " "}, {"name": "a\u202eb"},
    ],
    ids=str,
)  # fmt: skip
def test_leave_without_bounds_is_refused(open_idp: Idp, odd: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="invalid_initial_access"):
        leave(open_idp, **odd)


def test_every_member_that_is_taken_is_answered(open_idp: Idp) -> None:
    said = {
        "client_name": "Notes", "client_uri": "https://notes.example/",
        "redirect_uris": ["https://notes.example/callback"],
        "post_logout_redirect_uris": ["https://notes.example/bye"],
        "backchannel_logout_uri": "https://notes.example/told",
        "jwks_uri": "https://notes.example/keys", "scope": "openid email",
        "grant_types": ["authorization_code"], "response_types": ["code"],
        "token_endpoint_auth_method": "private_key_jwt", "application_type": "web",
        "id_token_signed_response_alg": "ES256", "subject_type": "public",
    }  # fmt: skip
    app = registered(open_idp, **said)
    assert {name: app[name] for name in said} == said
    assert "client_secret" not in app
    assert said.keys() == registration._TAKEN - {"jwks"}
