"""What `idp doctor` says of mail."""

from typing import Any

import pytest

from idp.cli.doctor import Finding, _mail
from idp.settings import Settings
from tests.harness.mail import MailServer, mail_server
from tests.harness.workbench import SECRET


def looked_at(**values: Any) -> Finding:
    return _mail(Settings(secret_key=SECRET, **values))


def test_a_server_that_answers_is_well_and_gets_no_mail(server: MailServer) -> None:
    found = looked_at(mail={"server": f"smtp+plain://127.0.0.1:{server.port}"})
    assert (found.state, found.said) == ("ok", f"127.0.0.1:{server.port}, reached")
    assert server.received == []


@pytest.mark.parametrize("trouble", ["gone", "hangs", "no STARTTLS"])
def test_a_server_that_cannot_be_used_is_a_failure_with_its_reason(trouble: str) -> None:
    with mail_server() as server:
        server.hangs = trouble == "hangs"
        scheme = "smtp" if trouble == "no STARTTLS" else "smtp+plain"
        port = 1 if trouble == "gone" else server.port
        found = looked_at(mail={"server": f"{scheme}://u:hunter2@127.0.0.1:{port}", "timeout": 0.3})
    assert found.state == "failed"
    reason = {"gone": "refused", "hangs": "in time", "no STARTTLS": "STARTTLS"}[trouble]
    assert reason in found.said
    assert "hunter2" not in found.said


def test_no_server_is_well_for_a_trial_and_a_warning_in_earnest() -> None:
    trial, earnest = looked_at(), looked_at(url="https://id.example")
    assert (trial.state, earnest.state) == ("ok", "warning")
    assert "/dev/mail" in trial.said
    assert "IDP_MAIL__SERVER" in earnest.said
