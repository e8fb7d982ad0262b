"""What a sign-out did, as the API says it: how many sessions ended, and which apps know."""

from collections.abc import Sequence
from typing import Literal

from idp.admin.schemas import Model
from idp.storage.unit_of_work import UnitOfWork
from idp.web import receipts


class AppTold(Model):
    """An app of an ended session.

    told: it accepted the message; telling: not yet, we keep trying; not_told: given up; no_address:
    it has none, and stops when it next asks.
    """

    client_id: str
    name: str
    state: Literal["told", "telling", "not_told", "no_address"]


class SignedOut(Model):
    """Somebody's sessions that ended by this call; their tokens are dead already."""

    sessions_ended: int
    apps: list[AppTold]


def apps_told(unit: UnitOfWork, ended: Sequence[str]) -> list[AppTold]:
    """The apps of these ended sessions."""
    return [
        AppTold(client_id=app.client_id, name=app.name, state=app.state)
        for app in receipts.apps_told(unit, ended)
    ]


def signed_out(unit: UnitOfWork, ended: Sequence[str]) -> SignedOut:
    """What ending these sessions did."""
    unit.flush()
    return SignedOut(sessions_ended=len(ended), apps=apps_told(unit, ended))
