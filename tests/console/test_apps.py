"""Apps on the administrators' pages: added, with what to paste; changed; given new secrets."""

import json
import re
from html import unescape

import pytest
from starlette.testclient import TestClient

from idp.clock import MINUTE
from idp.console.app_templates import TEMPLATES
from idp.oauth import clients
from idp.oauth.model import Client
from idp.policy import management
from tests.console.conftest import Enter, send, text_of, token_of
from tests.flows.apps import claims_of
from tests.harness.provider import ADMIN, Flow, Idp, Registered
from tests.harness.workbench import ManualClock

NEW = "/admin/apps/new"


def key_of(browser: TestClient, path: str) -> str:
    (key, *_) = re.findall(r'name="key" value="([^"]+)"', browser.get(path).text)
    return str(key)


def tag_of(browser: TestClient, client_id: str) -> str:
    page = browser.get(f"/admin/apps/{client_id}").text
    (tag,) = re.findall(r'name="tag" value="([^"]+)"', page)
    return unescape(tag)


def shown(page: str, name: str) -> str:
    (found,) = re.findall(rf'<code id="{name}">([^<]+)</code>', page)
    return str(found)


def form_of(browser: TestClient, client_id: str) -> dict[str, str]:
    """The form of an app as it stands on its page."""
    page = browser.get(f"/admin/apps/{client_id}").text
    form = page[page.index('id="change-form"') :]
    fields = dict(re.findall(r'name="([a-z_]+)"[^>]* value="([^"]*)"', form))
    fields |= dict(re.findall(r'name="([a-z_]+)"[^>]*>([^<]*)</textarea>', form))
    fields.pop("csrf", None)
    if not re.search(r'name="first_party"[^>]* checked', form):
        fields.pop("first_party", None)
    fields["minimum_acr"] = ""
    return {name: unescape(value) for name, value in fields.items()}


def test_what_is_pasted_signs_people_in_and_they_appear(idp: Idp, enter: Enter) -> None:
    browser = enter()
    fields = {
        "kind": "web",
        "name": "Shop",
        "address": "https://shop.example/",
        "callback": "/auth/back",
        "backchannel": "/told",
        "first_party": "on",
        "key": key_of(browser, f"{NEW}?kind=web"),
    }
    status, page = send(browser, NEW, **fields)
    assert status == 200
    assert "Shop is added" in page
    client = Registered(
        shown(page, "client-id"), shown(page, "client-secret"), "https://shop.example/auth/back"
    )
    config = unescape(page[page.index('<pre id="config"') :])
    assert f'client_id="{client.id}"' in config
    assert f'client_secret="{client.secret}"' in config
    live = f"/admin/apps/{client.id}"
    assert "Nobody yet." in browser.get(live).text
    alice = idp.person("alice")
    idp.grant(client, idp.session(alice))
    assert "alice" in browser.get(live).text
    assert str(client.secret) not in browser.get(live).text, "shown once"


def test_a_form_that_is_sent_twice_is_one_app_with_the_same_secret(idp: Idp, enter: Enter) -> None:
    browser = enter()
    fields = {"kind": "service", "name": "Job", "key": key_of(browser, f"{NEW}?kind=service")}
    first, again = (send(browser, NEW, **fields)[1] for _ in range(2))
    assert shown(first, "client-secret") == shown(again, "client-secret")
    assert idp.count("clients") == 1


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda one: one.key)
def test_every_kind_of_app_can_be_registered(idp: Idp, template: object) -> None:
    made = template.made(  # type: ignore[attr-defined]
        name="App",
        address="https://app.example",
        callback=template.callback or "",  # type: ignore[attr-defined]
        backchannel=template.backchannel or "",  # type: ignore[attr-defined]
    )
    with idp.work.begin() as unit:
        client, _ = clients.create(unit, actor=ADMIN, **made)
        assert client.id


def test_nextcloud_signs_in_as_its_own_code_does(idp: Idp) -> None:
    """Its user_oidc: the secret in the form, and name and address in the ID token by `claims`."""
    (template,) = (one for one in TEMPLATES if one.key == "nextcloud")
    made = template.made(
        name="Cloud",
        address="https://cloud.example",
        callback="/apps/user_oidc/code",
        backchannel="",
    )
    with idp.work.begin() as unit:
        client, secret = clients.create(unit, **made, first_party=1, actor=ADMIN)
        app = Registered(client.id, secret, client.redirect_uris[0])
    started, flow = idp.session(idp.person("alice", claims={"name": "Alice"})), Flow(app)
    names = dict.fromkeys(("email", "name", "quota", "groups"))
    claims = json.dumps({"id_token": names, "userinfo": names})
    asked = flow.parameters(scope="openid profile email", claims=claims)
    form = {
        "code": idp.authorize(idp.signed_in_browser(started), asked)["code"],
        "redirect_uri": app.redirect_uri, "grant_type": "authorization_code",
        "code_verifier": flow.verifier, "client_id": app.id, "client_secret": str(secret),
    }  # fmt: skip
    tokens = idp.browser().post("/token", data=form).json()
    told = claims_of(tokens["id_token"])
    assert (told["name"], told["email"]) == ("Alice", "alice@example.com")


def test_what_cannot_be_registered_says_why_and_keeps_what_was_typed(
    idp: Idp, enter: Enter
) -> None:
    browser = enter()
    fields = {"kind": "web", "name": "Shop", "callback": "/cb", "key": "k"}
    for address, sentence in (
        ("http://shop.example", "uses https"),
        ("https://*.example", "without wildcards"),
        ("javascript:alert(1)", "redirect URI"),
        ("", "redirect URI"),
        ("https://a@shop.example", "no user name"),
    ):
        status, page = send(browser, NEW, **fields, address=address)
        assert status == 400, address
        assert sentence in unescape(page)
        assert f'value="{address}"' in unescape(page)
    assert send(browser, NEW, kind="web", name="", address="https://a.example")[0] == 400
    assert send(browser, NEW, kind="spaceship", name="x")[0] == 404
    assert browser.get(f"{NEW}?kind=spaceship").status_code == 404
    assert idp.count("clients") == 0


@pytest.mark.attack("AD-04")
def test_nobody_gives_an_app_rights_that_they_have_not(idp: Idp, enter: Enter) -> None:
    browser = enter("clients:read", "clients:write", username="nearly")
    page = browser.get(f"{NEW}?kind=management").text
    assert 'name="right.clients:read"' in page
    assert 'name="right.users:write"' not in page
    fields = {"kind": "management", "name": "Puppet", "key": "k", "right.users:write": "on"}
    assert send(browser, NEW, **fields)[0] == 403
    strong = idp.register(
        name="Strong", grant_types=["client_credentials"], redirect_uris=[], management=1,
        scope="users:write",
    )  # fmt: skip
    page = browser.get(f"/admin/apps/{strong.id}").text
    assert "You can look, and change nothing." in page
    for form, sent in (
        ("change", {"name": "x", "tag": "x"}),
        ("secret", {"key": "k"}),
        ("disable", {"reason": "x"}),
        ("enable", {"reason": "x"}),
    ):
        status, _ = send(browser, f"/admin/apps/{strong.id}/{form}", **sent)
        assert status == 403, form


def test_a_change_is_made_from_what_was_seen_and_a_conflict_shows_both(
    idp: Idp, enter: Enter
) -> None:
    app = idp.register(name="Shop", backchannel_logout_uri="http://127.0.0.1:9/l")
    mine, theirs = enter(), enter(username="other")
    path = f"/admin/apps/{app.id}/change"
    seen = form_of(mine, app.id)
    assert seen["name"] == "Shop"
    assert seen["redirect_uris"] == app.redirect_uri
    other = form_of(theirs, app.id) | {"name": "Their name"}
    assert send(theirs, path, **other)[0] == 303
    status, page = send(mine, path, **(seen | {"name": "My name"}))
    assert status == 412
    said = text_of(page)
    assert "changed by somebody else" in said
    assert "<dd>Their name</dd>" in page, "what stands now"
    assert 'value="My name"' in page, "what was typed"
    with idp.work.read() as unit:
        assert unit.orm.get_one(Client, app.id).name == "Their name"
    (fresh,) = re.findall(r'name="tag" value="([^"]+)"', page)
    again = seen | {"name": "My name", "tag": unescape(fresh)}
    status, where = send(mine, path, **again)
    assert status == 303
    assert "Saved." in text_of(mine.get(where).text)
    with idp.work.read() as unit:
        client = unit.orm.get_one(Client, app.id)
        assert client.name == "My name"
        assert client.backchannel_logout_uri == "http://127.0.0.1:9/l"


def test_a_whole_form_changes_what_it_says(idp: Idp, enter: Enter) -> None:
    app = idp.register(name="Shop")
    browser = enter()
    path = f"/admin/apps/{app.id}/change"
    wanted = form_of(browser, app.id) | {
        "redirect_uris": "https://a.example/cb\nhttps://b.example/cb",
        "minimum_acr": "aal2",
        "access_token_lifetime": "120",
        "client_uri": "https://a.example",
        "scope": "openid  email",
    }
    wanted.pop("first_party", None)
    assert send(browser, path, **wanted)[0] == 303
    with idp.work.read() as unit:
        client = unit.orm.get_one(Client, app.id)
        assert client.redirect_uris == ["https://a.example/cb", "https://b.example/cb"]
        assert (client.minimum_acr, client.access_token_lifetime) == ("aal2", 120)
        assert (client.scope, client.first_party) == ("openid email", 0)
    for name, wrong in (
        ("access_token_lifetime", "soon"),
        ("access_token_lifetime", "1"),
        ("redirect_uris", "https://a.example/#x"),
        ("minimum_acr", "aal9"),
        ("name", ""),
    ):
        now = form_of(browser, app.id) | {name: wrong}
        status, page = send(browser, path, **now)
        assert status == 400, (name, wrong)
        assert 'role="alert"' in page
        if name != "minimum_acr":
            assert wrong in page


def test_a_new_secret_is_shown_once_and_the_old_one_goes_as_was_chosen(
    idp: Idp, enter: Enter
) -> None:
    app = idp.register(name="Shop")
    browser = enter()
    path = f"/admin/apps/{app.id}"

    def works(secret: str | None) -> bool:
        client = Registered(app.id, secret, app.redirect_uri)
        return idp.post("/introspect", client, token="x")[0] == 200

    fields = {"key": key_of(browser, path), "overlap": "keep"}
    status, page = send(browser, f"{path}/secret", **fields)
    second = shown(page, "client-secret")
    assert status == 200
    assert works(app.secret)
    assert works(second)
    assert shown(send(browser, f"{path}/secret", **fields)[1], "client-secret") == second
    _, page = send(browser, f"{path}/secret", key=key_of(browser, path), overlap="none")
    third = shown(page, "client-secret")
    assert works(third)
    assert not works(second)
    assert browser.get(f"{path}/secret").headers["location"] == path


def test_a_disabled_app_is_refused_until_it_is_enabled(idp: Idp, enter: Enter) -> None:
    app = idp.register(name="Shop")
    browser = enter()
    path = f"/admin/apps/{app.id}"
    assert send(browser, f"{path}/disable", reason=" ")[0] == 400
    assert send(browser, f"{path}/disable", reason="breached")[0] == 303
    assert "Disabled" in text_of(browser.get("/admin/apps").text)
    answer = idp.browser().get("/authorize", params=Flow(app).parameters())
    assert answer.status_code == 400
    assert send(browser, f"{path}/enable", reason="mended")[0] == 303
    changed = idp.events("client.changed")
    assert ["breached" in one["data"] for one in changed] == [True, False]


def test_what_apps_are_called_is_found_and_is_text(idp: Idp, enter: Enter) -> None:
    idp.register(name="<script>alert(1)</script>", client_uri="https://a.example/<b>")
    idp.register(name="Wiki")
    browser = enter()
    page = browser.get("/admin/apps?q=script").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page
    assert "Wiki" not in page
    assert "No app is called so." in browser.get("/admin/apps?q=nothing").text


def test_forms_need_right_token_and_proof(idp: Idp, enter: Enter, clock: ManualClock) -> None:
    app = idp.register(name="Shop")
    mine, theirs = enter(), enter(username="other")
    nearly = enter(*(o for o in management.SCOPES if o != "clients:write"), username="nearly")
    before = len(idp.events())
    paths = [NEW, *(f"/admin/apps/{app.id}/{one}" for one in ("change", "secret", "disable"))]
    fields = {"kind": "service", "name": "x", "key": "k", "tag": "x", "reason": "x"}
    for path in paths:
        assert send(nearly, path, **fields)[0] == 404
        answer = mine.post(path, data={**fields, "csrf": token_of(theirs)})
        assert answer.status_code == 403
        assert send(mine, path.replace(app.id, "cli_nothing"), **fields)[0] in (200, 404)
    clock.advance(6 * MINUTE)
    for path in paths:
        status, page = send(mine, path, **fields)
        assert status == 200
        assert 'name="for" value="administer"' in page
    made = [one for one in idp.events()[before:] if one["type"].startswith("client.")]
    assert [one["type"] for one in made] == ["client.created"], "one, that was allowed"
