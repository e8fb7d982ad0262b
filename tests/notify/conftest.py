"""A provider whose mail goes to a real server on loopback, and a post that sends it by hand."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness.backends import receivers  # noqa: F401
from tests.harness.mail import MailServer, Post, delivering, mail_server, with_server
from tests.harness.provider import Idp, Templates, settings_for
from tests.harness.workbench import ManualClock


@dataclass
class Mailing:
    """A provider, the mail server it is told of, and what carries mail from one to the other."""

    idp: Idp
    server: MailServer
    post: Post


@pytest.fixture
def server() -> Iterator[MailServer]:
    """A mail server without encryption."""
    with mail_server() as made:
        yield made


@pytest.fixture
def mailing(
    tmp_path: Path, templates: Templates, clock: ManualClock, server: MailServer
) -> Iterator[Mailing]:
    settings = settings_for(templates.sqlite(tmp_path / "idp.db"), name="Acme ID")
    idp = Idp(with_server(settings, server, timeout=20), clock)
    with delivering(idp.work) as post:
        yield Mailing(idp, server, post)
    idp.close()
