"""An app of a story: sends people to sign in and turns the answer into tokens."""

import base64
import json
from typing import Any

from tests.flows.pages import Person
from tests.harness.provider import Flow, Idp, Registered


class App:
    """A registered app with one sign-in under way at a time."""

    def __init__(self, idp: Idp, **registration: Any) -> None:
        self.idp = idp
        self.client: Registered = idp.register(**registration)
        self._flow = Flow(self.client)

    def send(self, person: Person, **parameters: str | None) -> Person:
        """Sends somebody's browser to the provider."""
        self._flow = Flow(self.client)
        return person.open("/authorize", self._flow.parameters(**parameters))

    def receive(self, person: Person) -> dict[str, Any]:
        """Takes the answer the browser came back with and redeems the code."""
        answer = person.answer
        assert answer["state"] == self._flow.state
        assert answer["iss"] == self.idp.settings.issuer
        status, tokens = self.idp.token(
            self.client,
            grant_type="authorization_code",
            code=answer["code"],
            redirect_uri=self.client.redirect_uri,
            code_verifier=self._flow.verifier,
        )
        assert status == 200, tokens
        return tokens

    def is_active(self, token: str) -> bool:
        return self.idp.is_active(self.client, token)


def claims_of(token: str) -> dict[str, Any]:
    """The claims of a JWT, unverified."""
    payload = token.split(".")[1]
    found: dict[str, Any] = json.loads(
        base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    )
    return found
