"""The mails that are owed, opened, and the links in them."""

from idp.events.delivery import Claimed
from idp.events.model import Delivery
from idp.notify import messages
from idp.notify.messages import Owed
from tests.harness.provider import ISSUER, Idp


def owed(idp: Idp, *kinds: str) -> list[Owed]:
    """Every mail of these kinds (all without), oldest first."""
    with idp.work.read() as unit:
        rows = unit.orm.query(Delivery).filter(Delivery.channel == messages.CHANNEL)
        found = [
            messages.opened(
                unit.vault,
                Claimed(
                    id=row.id,
                    event_id=row.event_id,
                    channel=row.channel,
                    receiver=row.receiver,
                    session_id=None,
                    payload=row.payload,
                    attempts=1,
                    created_at=row.created_at,
                    give_up_at=row.give_up_at,
                    claimed_until=0,
                ),
            )
            for row in sorted(rows, key=lambda row: row.created_at)
        ]
    return [mail for mail in found if not kinds or mail.message in kinds]


def linked(idp: Idp, kind: str) -> str:
    """The path of the link in the one mail of a kind, or the last of them."""
    link: str = owed(idp, kind)[-1].values["link"]
    assert link.startswith(ISSUER)
    return link.removeprefix(ISSUER)
