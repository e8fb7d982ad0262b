"""The mails a provider owes, by kind, and the links in them."""

from tests.harness import mail
from tests.harness.mail import OwedMail
from tests.harness.provider import ISSUER, Idp


def owed(idp: Idp, *kinds: str) -> list[OwedMail]:
    """Every mail of these kinds (all without), oldest first."""
    return [one for one in mail.owed(idp.work) if not kinds or one.message in kinds]


def linked(idp: Idp, kind: str) -> str:
    """The path of the link in the newest mail of a kind."""
    link: str = owed(idp, kind)[-1].values["link"]
    assert link.startswith(ISSUER)
    return link.removeprefix(ISSUER)
