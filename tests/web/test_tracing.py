"""Traces: what happened and how long it took, and nothing that a request brought (I12, OP-04)."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from idp import app as application
from idp.events import delivery
from idp.events.delivery import Outcome
from idp.logout.backchannel import BackchannelLogout
from idp.sections import TracingSettings
from idp.web import tracing
from tests.harness.device_app import device_app
from tests.harness.provider import PASSWORD, Flow, Idp, Templates, settings_for
from tests.harness.workbench import ManualClock
from tests.web.html import Page


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    made = InMemorySpanExporter()
    monkeypatch.setattr(tracing, "OTLPSpanExporter", lambda **_: made)
    return made


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def traced(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    templates: Templates,
    clock: ManualClock,
    exporter: InMemorySpanExporter,
) -> Iterator[Idp]:
    wanted = {"tracing": {"endpoint": "http://collector:4318/v1/traces"}}
    if request.param == "sqlite":
        idp = Idp(settings_for(templates.sqlite(tmp_path / "idp.db"), **wanted), clock)
        yield idp
        idp.close()
    else:
        with templates.postgres() as url:
            idp = Idp(settings_for(url, **wanted), clock)
            yield idp
            idp.close()


def spans(idp: Idp, exporter: InMemorySpanExporter) -> Sequence[ReadableSpan]:
    assert idp.app.traces is not None
    idp.app.traces.flush()
    return exporter.get_finished_spans()


def everything(found: Sequence[ReadableSpan]) -> str:
    """Whatever a collector is told."""
    return "\n".join(one.to_json() for one in found)


def routes(found: Sequence[ReadableSpan]) -> list[str]:
    return [one.name for one in found if one.parent is None]


@pytest.mark.attack("OP-04")
def test_no_secret_of_anybody_is_in_a_trace(traced: Idp, exporter: InMemorySpanExporter) -> None:
    idp = traced
    person, app = idp.person("alice"), idp.register()
    started = idp.session(person)
    browser = idp.browser()
    page = Page(browser.get("/account/sign-in"))
    page.press(browser, "login-submit", username="alice", password=PASSWORD)
    browser.get("/account/sessions")
    flow = Flow(app)
    answer = idp.authorize(idp.signed_in_browser(started), flow.parameters())
    status, tokens = idp.token(
        app,
        grant_type="authorization_code",
        code=answer["code"],
        redirect_uri=app.redirect_uri,
        code_verifier=flow.verifier,
    )
    assert status == 200
    assert idp.is_active(app, tokens["access_token"])
    assert idp.userinfo(tokens["access_token"])[0] == 200
    asking = device_app(idp)
    asking.ask()
    browser.get(f"/device/{asking.user_code}?user_code={asking.user_code}")
    browser.get("/qr/ABCDEFGH")
    browser.get("/recover/reset?token=of-a-mail")
    browser.get("/made-up/path-with-a-secret")
    browser.request("PROPFIND", "/login", headers={"X-Secret": "of-a-header"})
    said = everything(spans(idp, exporter))
    cookies = [*browser.cookies.values(), started.secret]
    for secret in (
        PASSWORD, "alice", str(app.secret), answer["code"], flow.state, flow.nonce, flow.verifier,
        *cookies, *(str(tokens[name]) for name in ("access_token", "refresh_token", "id_token")),
        asking.user_code, asking.codes["device_code"], "ABCDEFGH", "of-a-mail", "of-a-header",
        "path-with-a-secret", "PROPFIND", person.id, started.session.id,
    ):  # fmt: skip
        assert secret not in said, secret


def test_a_request_is_one_trace_of_what_it_did(traced: Idp, exporter: InMemorySpanExporter) -> None:
    idp = traced
    person, app = idp.person(), idp.register()
    started = idp.session(person)
    tokens = idp.grant(app, started)
    assert len(spans(idp, exporter)) > 0
    exporter.clear()
    idp.refresh(app, tokens["refresh_token"])
    page = idp.signed_in_browser(started).get(
        f"/admin/sessions/{started.session.id}",
        headers={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
    )
    found = spans(idp, exporter)
    assert routes(found) == ["POST /token", "GET /admin/sessions/{id}"]
    token, asked = (one for one in found if one.parent is None)
    below = [
        one.name for one in found if one.parent and one.parent.span_id == token.context.span_id
    ]
    assert below == ["SELECT", "COMMIT"]
    assert token.attributes["http.response.status_code"] == 200
    assert asked.attributes["idp.request_id"] == page.headers["x-request-id"]
    assert f"{asked.context.trace_id:032x}" != "0af7651916cd43dd8448eb211c80319c"
    statements = [one for one in found if one.context.trace_id == asked.context.trace_id][:-1]
    assert any("FROM sessions" in str(one.attributes["db.query.text"]) for one in statements)
    assert all(one.end_time is not None for one in found)


def test_what_no_request_asks_for_is_not_traced_but_deliveries_are(
    traced: Idp, exporter: InMemorySpanExporter
) -> None:
    idp = traced
    app = idp.register(backchannel_logout_uri="http://127.0.0.1:1/logout?of=a-secret")
    started = idp.session(idp.person())
    idp.grant(app, started)
    spans(idp, exporter)
    exporter.clear()
    idp.end(started.session.id)
    assert spans(idp, exporter) == ()
    with idp.work.begin() as unit:
        due = delivery.due(unit, delivery.Reach(channels=["backchannel_logout"]), limit=9)
        claimed = delivery.claim(unit, [one for one, _ in due], lease=1_000_000)
    told: list[Outcome] = []
    sending = BackchannelLogout(idp.work, idp.app.provider.keyring, idp.app.provider.outbound)
    assert idp.app.traces is not None
    channel = idp.app.traces.of_channel("backchannel_logout", sending)
    channel.send(claimed, lambda _, outcome: told.append(outcome))
    idp.app.provider.outbound.close()
    assert [one.verdict for one in told] == ["failed"]
    (sent,) = spans(idp, exporter)
    assert sent.name == "deliver backchannel_logout"
    assert dict(sent.attributes) == {"idp.delivery.outcome": "failed", "idp.delivery.attempt": 1}
    assert "a-secret" not in everything([sent])


def test_what_fails_ends_its_spans_and_is_not_quoted(
    traced: Idp, exporter: InMemorySpanExporter
) -> None:
    idp = traced
    browser = idp.signed_in_browser(idp.session(idp.person("alice")))
    idp.execute("ALTER TABLE trusted_devices RENAME TO elsewhere")
    assert browser.get("/account/sessions").status_code == 500
    idp.execute("ALTER TABLE elsewhere RENAME TO trusted_devices")
    found = spans(idp, exporter)
    (asked,) = (one for one in found if one.parent is None)
    assert asked.attributes["http.response.status_code"] == 500
    assert "trusted_devices" in str(found[-2].attributes["db.query.text"])
    assert not any(one.events for one in found)
    assert all(one.end_time is not None for one in found)
    assert browser.get("/account/sessions").status_code == 200


def test_without_an_address_there_are_no_traces(idp: Idp) -> None:
    assert idp.app.traces is None


@pytest.mark.parametrize(
    "endpoint", ["collector:4318", "ftp://x/", "http://", "http://u:p@host/", "http://host/?a=b"]
)
def test_an_address_that_is_none_is_refused(endpoint: str) -> None:
    with pytest.raises(ValueError, match="endpoint"):
        TracingSettings(endpoint=endpoint)


def test_without_the_extra_the_server_says_what_to_install(
    tmp_path: Path, templates: Templates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "idp.web.tracing", None)
    wanted: dict[str, Any] = {"tracing": {"endpoint": "http://localhost:4318"}}
    settings = settings_for(templates.sqlite(tmp_path / "idp.db"), **wanted)
    with pytest.raises(application.NotReady, match=r"pip install 'idp\[otel\]'"):
        application.create_app(settings)
