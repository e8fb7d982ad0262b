import pytest

from idp.clock import SECOND
from idp.logout import logout_token
from idp.logout.backchannel import BackchannelLogout
from idp.storage.unit_of_work import Work
from idp.work.outbound import Outbound
from tests.harness.logouts import Signed, claimed, tokens_sent
from tests.harness.receivers import Receivers
from tests.harness.workbench import ManualClock, add_clients


def made(**changes: object) -> dict[str, object]:
    values = {
        "issuer": "https://id.example",
        "client_id": "app",
        "subject": "usr_1",
        "session_id": "ses_1",
        "token_id": "dlv_1",
        "now": 1_000,
    }
    return logout_token.claims(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.attack("LO-05")
def test_a_logout_token_has_the_claims_of_the_specification_and_no_others() -> None:
    assert made() == {
        "iss": "https://id.example",
        "aud": "app",
        "iat": 1_000,
        "exp": 1_120,
        "jti": "dlv_1",
        "sub": "usr_1",
        "sid": "ses_1",
        "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
    }


@pytest.mark.attack("LO-05")
def test_it_lives_for_two_minutes_at_most_and_has_no_nonce() -> None:
    claims = made()
    assert claims["exp"] - claims["iat"] <= 120  # type: ignore[operator]
    assert "nonce" not in claims
    assert isinstance(claims["aud"], str)


@pytest.mark.attack("LO-05")
@pytest.mark.parametrize("alg", ["ES256", "RS256"])
def test_it_is_signed_as_the_client_wants_its_id_tokens_and_typed(
    sqlite_work: Work, outbound: Outbound, receivers: Receivers, alg: str
) -> None:
    app = receivers.add()
    (client,) = add_clients(sqlite_work, [app.uri], alg=alg)
    signed = Signed()
    BackchannelLogout(sqlite_work, signed, outbound).send(
        [claimed(client)], lambda one, outcome: None
    )
    app.wait_for(1)
    assert signed.made[0][0] == alg
    assert signed.made[0][2] == "logout+jwt"


@pytest.mark.attack("LO-05")
def test_every_delivery_has_its_own_id_and_every_attempt_the_same_with_fresh_times(
    sqlite_work: Work, outbound: Outbound, receivers: Receivers, clock: ManualClock
) -> None:
    app = receivers.add()
    (client,) = add_clients(sqlite_work, [app.uri])
    channel = BackchannelLogout(sqlite_work, Signed(), outbound)
    first, second = claimed(client), claimed(client)
    channel.send([first], lambda one, outcome: None)
    app.wait_for(1)
    clock.advance(400 * SECOND)
    channel.send([first], lambda one, outcome: None)
    app.wait_for(2)
    channel.send([second], lambda one, outcome: None)
    app.wait_for(3)
    attempt, again, other = tokens_sent(app)
    assert attempt["jti"] == again["jti"] != other["jti"]
    assert again["iat"] == attempt["iat"] + 400
    assert again["exp"] == attempt["exp"] + 400
