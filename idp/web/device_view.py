"""What the person of the approving device is shown of the one that asks: ready facts, no sentences."""

from dataclasses import dataclass

from idp.clock import Instant
from idp.oauth import devices
from idp.oauth.model import Client
from idp.policy.proximity import Relation, Terms
from idp.sessions import handoff, pairing_details, pairing_stage
from idp.sessions.device import Visit, describe
from idp.sessions.model import Pairing
from idp.sessions.pairing_stage import Stage
from idp.sessions.place import Place
from idp.storage.unit_of_work import UnitOfWork
from idp.users.model import User
from idp.web.session_view import hue


@dataclass(frozen=True, slots=True)
class Asking:
    """Another device, and how its request stands.

    `terms` and `numbers` are for browsers: what is asked for and given, and what to choose from.
    """

    id: str
    kind: str
    stage: Stage
    user_code: str
    app: str
    hue: int
    device: str
    device_type: str
    ip: str | None
    place: Place
    relation: Relation
    distance_km: float | None
    started_at: Instant
    scopes: tuple[str, ...]
    is_contested: bool
    terms: Terms | None
    numbers: tuple[int, ...]
    ends_at: Instant


def of(unit: UnitOfWork, asked: Pairing, person: User, here: Visit) -> Asking:
    """What `person`, who looks at it from `here`, is shown of a pairing that they opened."""
    details = pairing_details.of(unit, asked)
    asker = details.asker or Visit()
    client = unit.orm.get(Client, asked.client_id) if asked.client_id is not None else None
    is_app = asked.kind == "device"
    met = handoff.meeting(unit, asked, person, here)
    # On where an app's device is nothing hangs but what the person thinks of it.
    terms = None if is_app else met.terms
    device = describe(asker)
    return Asking(
        id=asked.id,
        kind=asked.kind,
        stage=pairing_stage.of(asked, unit.now),
        user_code=details.user_code,
        app=client.name if client is not None else "",
        hue=hue(asked.client_id or ""),
        device=device.label,
        device_type=devices.type_of(asker) if is_app else device.type,
        ip=asker.ip,
        place=asker.place,
        relation=met.relation,
        distance_km=met.distance.about if met.distance is not None else None,
        started_at=asked.created_at,
        scopes=tuple(asked.scope.split()),
        is_contested=asked.contested_at is not None,
        terms=terms,
        numbers=() if is_app else handoff.choices(unit.vault, asked),
        ends_at=unit.now + (terms.lasting if terms is not None else 0),
    )
