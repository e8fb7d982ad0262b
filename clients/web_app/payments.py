"""Payments of a session: requests to an API that may ask for more, and then must be sent again.

The API answers 401 with `insufficient_user_authentication` where its person must prove more, or
again (RFC 9470). The request is kept here, on the server, while they do: what comes back from the
provider is only the `state`, which fits one request once. So nothing that is in an address can pay.
"""

import json
import re
import secrets
from dataclasses import dataclass, field

import httpx2

KEPT_MAXIMUM = 10
_PARAMETER = re.compile(r'([a-z_]+)="([^"\\]*)"')
_WHY_NOT = {
    "unmet_authentication_requirements": "Nothing was paid: you did not prove what this needs.",
    "access_denied": "Nothing was paid: you said no.",
}


@dataclass(eq=False, slots=True)
class Payment:
    """One request to the API, and what became of it."""

    amount: str
    note: str
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    # Of the trip to the provider it waits for.
    state: str | None = None
    # A challenge is followed once: an API that is never content must not send people in circles.
    was_challenged: bool = False
    status: int | None = None
    answer: str | None = None
    error: str | None = None

    def body(self) -> dict[str, str]:
        """What the API is sent, the first time and again."""
        return {"amount": self.amount, "note": self.note}

    def wait(self) -> str:
        """The `state` of the trip to the provider that it waits for from now on."""
        self.was_challenged = True
        self.state = secrets.token_urlsafe(32)
        return self.state

    def answered(self, response: httpx2.Response) -> None:
        """Keeps what the API said."""
        self.status = response.status_code
        try:
            self.answer = json.dumps(response.json(), indent=2, ensure_ascii=False)
        except ValueError:
            self.answer = ""
        if self.status != 201:
            self.error = "Nothing was paid. What the API says is below."

    def refused(self, error: str | None) -> None:
        """Keeps why the provider sent the person back without a token."""
        self.error = _WHY_NOT.get(error or "", "Nothing was paid. Please try again.")


class Payments:
    """The latest payments of one session."""

    def __init__(self) -> None:
        self._by_id: dict[str, Payment] = {}

    def add(self, payment: Payment) -> None:
        while len(self._by_id) >= KEPT_MAXIMUM:
            del self._by_id[next(iter(self._by_id))]
        self._by_id[payment.id] = payment

    def find(self, payment_id: str) -> Payment | None:
        return self._by_id.get(payment_id)

    def take_waiting(self, state: str | None) -> Payment | None:
        """The payment that waits for this trip; it waits no longer, so it is sent once."""
        for payment in self._by_id.values():
            if state is not None and payment.state == state:
                payment.state = None
                return payment
        return None


def asks_for_more(response: httpx2.Response) -> dict[str, str] | None:
    """The `acr_values` and `max_age` of a challenge (RFC 9470 section 3); None when it is none."""
    scheme, _, rest = response.headers.get("www-authenticate", "").partition(" ")
    said = dict(_PARAMETER.findall(rest))
    if response.status_code != 401 or scheme.lower() != "bearer":
        return None
    if said.get("error") != "insufficient_user_authentication":
        return None
    return {name: said[name] for name in ("acr_values", "max_age") if name in said}
