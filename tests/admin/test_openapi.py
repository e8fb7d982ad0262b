"""The OpenAPI document: it names every route, and what it says is true.

`SCHEMATHESIS_EXAMPLES=200 pytest tests/admin/test_openapi.py` looks harder.
"""

import os
from collections.abc import Iterator

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.transport import Response
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient

from idp.admin.openapi import document
from idp.admin.routes import OPERATIONS
from idp.policy import management
from tests.admin.conftest import manager_client
from tests.harness.provider import ISSUER, Idp, Templates, settings_for
from tests.harness.workbench import ManualClock
from tests.test_docs import routes_of

EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "5"))
SCHEMA = schemathesis.openapi.from_dict(document(ISSUER))


def test_every_route_of_the_apis_is_described_and_nothing_else(idp: Idp) -> None:
    served = {
        (method, route.path)
        for route in routes_of(idp)
        if route.path.startswith("/api/v1/") and route.path != "/api/v1/openapi.json"
        for method in route.methods - {"HEAD"}
    }
    made = idp.browser().get("/api/v1/openapi.json").json()
    described = {
        (method.upper(), path) for path, methods in made["paths"].items() for method in methods
    }
    assert described == served
    names = [one["operationId"] for path in made["paths"].values() for one in path.values()]
    assert len(names) == len(set(names))


def test_every_operation_names_its_scope_and_the_roles_that_have_it() -> None:
    for one in OPERATIONS:
        described = document(ISSUER)["paths"]["/api/v1/admin" + one.path][one.method.lower()]
        assert described["security"] == [{"oauth2": [one.scope]}]
        assert described["x-roles"] == sorted(
            name for name, held in management.ROLES.items() if one.scope in held
        )
        assert described["summary"].endswith((".", "follow"))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, templates: Templates) -> Iterator[Idp]:
    """One provider for everything that is sent, with somebody signed in."""
    url = templates.sqlite(tmp_path_factory.mktemp("described") / "idp.db")
    made = Idp(settings_for(url), ManualClock())
    yield made
    made.close()


@pytest.fixture(scope="module")
def browser(served: Idp) -> TestClient:
    return served.browser()


@pytest.fixture(scope="module")
def headers(served: Idp) -> dict[str, str]:
    user = served.person("root", roles=[management.ADMINISTRATOR])
    scope = " ".join(["openid", "sessions", *management.SCOPES])
    console = manager_client(served, *scope.split(), access_token_lifetime=86_400)
    tokens = served.grant(console, served.session(user), scope=scope)
    return {"Authorization": f"Bearer {tokens['access_token']}"}


def sent(browser: TestClient, case: schemathesis.Case, headers: dict[str, str]) -> Response:
    """Sends a case to the provider in this process, and gives the answer as schemathesis takes it."""
    given = case.as_transport_kwargs(base_url=ISSUER)
    taken = ("url", "headers", "params", "json", "data", "cookies")
    asked = requests.Request(
        case.method, **{name: given[name] for name in taken if given.get(name) is not None}
    ).prepare()
    asked.headers.update(headers)
    got = browser.request(case.method, asked.url, headers=dict(asked.headers), content=asked.body)
    return Response(
        status_code=got.status_code,
        headers={name: [value] for name, value in got.headers.items()},
        content=got.content,
        request=asked,
        elapsed=0.0,
        verify=False,
    )


@SCHEMA.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_no_answer_is_other_than_described(
    case: schemathesis.Case, browser: TestClient, headers: dict[str, str]
) -> None:
    case.validate_response(
        sent(browser, case, headers),
        checks=[
            not_a_server_error,
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
        ],
    )
