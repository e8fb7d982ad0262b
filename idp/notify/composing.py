"""A letter as an Internet message: headers, and the two forms of its text.

Nothing but one plain address and one line of subject can reach a header (AR-08). No tracking, no
pictures, nothing that is loaded from anywhere.
Specs: RFC 5322, RFC 2046 section 5.1.4, RFC 3834 (Auto-Submitted).
"""

import ipaddress
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from urllib.parse import urlsplit

from idp.clock import Instant, to_datetime
from idp.notify.letters import Letter, one_line
from idp.settings import Settings
from idp.users import names


def compose(
    letter: Letter, settings: Settings, *, to: str, delivery_id: str, at: Instant
) -> EmailMessage:
    """The message to be handed over; the same for every attempt of one delivery.

    Raises `Refused` (`invalid_email`) unless `to` is exactly one plain address.
    """
    local, _, domain = names.email(to).rpartition("@")
    message = EmailMessage(policy=SMTP)
    message["From"] = _sender(settings)
    message["To"] = Address(username=local, domain=domain)
    message["Subject"] = one_line(letter.subject)
    message["Date"] = to_datetime(at)
    message["Message-ID"] = f"<{delivery_id}@{domain_of(settings)}>"
    message["Auto-Submitted"] = "auto-generated"
    # Quoted-printable, because not every server on the way takes eight bits or long lines.
    message.set_content(letter.text, cte="quoted-printable")
    message.add_alternative(letter.html, subtype="html", cte="quoted-printable")
    return message


def domain_of(settings: Settings) -> str:
    """Our host as mail writes it: a name, or an address in brackets (RFC 5321 section 4.1.3)."""
    host = urlsplit(settings.issuer).hostname or "localhost"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    return f"[IPv6:{address}]" if address.version == 6 else f"[{address}]"


def _sender(settings: Settings) -> Address:
    address = settings.mail.sender or f"no-reply@{domain_of(settings)}"
    local, _, domain = address.rpartition("@")
    return Address(one_line(settings.name), username=local, domain=domain)
