"""An authorization request and what our pages would note for it, without the pages."""

from urllib.parse import parse_qs, urlsplit

from starlette.testclient import TestClient

from idp.oauth import consent, pushed
from idp.oauth.model import Client
from idp.policy.assurance import Authentication
from idp.sessions import lifecycle
from idp.sessions.device import Visit
from idp.sessions.model import Session
from idp.sessions.prove import PASSWORD
from tests.harness.provider import Flow, Idp, Registered, Started, answer_of


class Request:
    """One authorization request of an app in one browser, at whatever step it stands."""

    def __init__(self, idp: Idp, browser: TestClient, client: Registered, **changes: str | None):
        self._idp = idp
        self.browser = browser
        self.client = client
        self.flow = Flow(client)
        response = browser.get("/authorize", params=self.flow.parameters(**changes))
        assert response.status_code == 303, response.text
        self.location = response.headers["location"]

    @property
    def step(self) -> str:
        """ "/login", "/step-up" or "/consent", or the answer to the app: "code", or the error."""
        if self.location.startswith("/"):
            return urlsplit(self.location).path
        answer = answer_of(self.location)
        assert answer["iss"] == self._idp.settings.issuer
        assert answer["state"] == self.flow.state
        return answer.get("error", "code")

    @property
    def reference(self) -> str:
        return parse_qs(urlsplit(self.location).query)["request"][0]

    @property
    def answer(self) -> dict[str, str]:
        """What the app was told."""
        return answer_of(self.location)

    def authenticated(self, session_id: str, *proved: Authentication) -> "Request":
        """As our pages do once a proof (a password, if none is named) was good."""
        with self._idp.work.begin() as unit:
            session = unit.orm.get(Session, session_id)
            if session is not None:
                secret = lifecycle.reauthenticate(unit, session, proved or [PASSWORD], Visit())
                self.browser.cookies.set("idp_session", secret, domain="localhost.local")
            pushed.note_authentication(unit, self.reference, session_id)
        return self._again()

    def allowed(self, started: Started) -> "Request":
        """As the consent page does for "Allow"."""
        with self._idp.work.begin() as unit:
            registered = unit.orm.get_one(Client, self.client.id).scope
        remember_consent(self._idp, started, self.client, registered)
        with self._idp.work.begin() as unit:
            pushed.note_consent(unit, self.reference, started.session.id)
        return self._again()

    def denied(self) -> "Request":
        with self._idp.work.begin() as unit:
            pushed.note_denial(unit, self.reference)
        return self._again()

    def _again(self) -> "Request":
        response = self.browser.get(pushed.return_url(self.reference, self.client.id))
        assert response.status_code == 303, response.text
        self.location = response.headers["location"]
        return self


def remember_consent(idp: Idp, started: Started, client: Registered, scope: str = "openid") -> None:
    """As the consent page does when somebody allows an app something."""
    with idp.work.begin() as unit:
        consent.grant(
            unit,
            user_id=started.session.user_id,
            session_id=started.session.id,
            client_id=client.id,
            scope=scope,
        )
