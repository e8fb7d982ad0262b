"""Signing keys: published before they sign, verified after they stopped (RFC 7517)."""

import threading
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from idp.clock import DAY, HOUR, SECOND
from idp.errors import Refused
from idp.oauth import keys
from idp.oauth.keys import KNOWN_AFTER, RELOAD_EVERY, RETIRED_PUBLISHED
from tests.attacks.forge import parts_of
from tests.harness.provider import Flow, Idp

PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}


def published(idp: Idp) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = idp.browser().get("/jwks").json()["keys"]
    return found


def kid_of(token: str) -> str:
    return str(parts_of(token)[0]["kid"])


def rotate(idp: Idp) -> list[str]:
    with idp.work.begin() as unit:
        return keys.rotate(unit)


def test_the_published_keys_are_public_distinct_and_say_what_they_are_for(idp: Idp) -> None:
    found = published(idp)
    assert sorted(key["alg"] for key in found) == ["ES256", "ES256", "RS256", "RS256"]
    assert len({key["kid"] for key in found}) == 4
    for key in found:
        assert not PRIVATE & set(key)
        assert key["use"] == "sig"
        assert (key["kty"], key.get("crv")) in [("EC", "P-256"), ("RSA", None)]
    assert idp.browser().get("/.well-known/jwks.json").json()["keys"] == found


def test_private_keys_are_sealed_in_the_database(idp: Idp) -> None:
    with idp.work.read() as unit:
        rows = unit.connection.exec_driver_sql("SELECT private_jwk FROM signing_keys").all()
    for (sealed,) in rows:
        assert '"d"' not in sealed
        assert "{" not in sealed


@pytest.mark.parametrize("alg", ["ES256", "RS256"])
def test_a_rotation_disturbs_no_token_and_no_app(idp: Idp, alg: str) -> None:
    app = idp.register(id_token_signed_response_alg=alg, access_token_format="jwt")
    started = idp.session(idp.person())
    announced = {key["kid"] for key in published(idp)}
    old = idp.grant(app, started)
    activated = rotate(idp)
    # The keys that sign now were published before; apps that kept the old set know them.
    assert set(activated) <= announced
    idp.clock.advance(RELOAD_EVERY + SECOND)
    new = idp.grant(app, started)
    assert kid_of(new["id_token"]) in activated
    assert kid_of(new["id_token"]) != kid_of(old["id_token"])
    now = {key["kid"] for key in published(idp)}
    assert announced < now
    assert len(now - announced) == 2
    key_set = KeySet.import_key_set(idp.browser().get("/jwks").json())
    for tokens in (old, new):
        assert idp.userinfo(tokens["access_token"])[0] == 200
        jwt.decode(tokens["id_token"], key_set, algorithms=[alg])
    # What was signed before is still taken back, too.
    hinted = Flow(app).parameters(id_token_hint=old["id_token"], prompt="none")
    assert "code" in idp.authorize(idp.signed_in_browser(started), hinted)
    assert [event["type"] for event in idp.events("keys.rotated")] == ["keys.rotated"] * 2


@pytest.mark.attack("OP-06")
def test_a_key_signs_only_when_every_node_had_the_time_to_learn_of_it(either_idp: Idp) -> None:
    idp = either_idp
    rotate(idp)
    idp.clock.advance(KNOWN_AFTER - 1)
    with pytest.raises(Refused) as refused:
        rotate(idp)
    assert refused.value.code == "too_soon"
    assert refused.value.sentence.endswith("Try again in 1 seconds.")
    assert len(idp.events("keys.rotated")) == 2, "one for each algorithm, of the first time"
    idp.clock.advance(1)
    assert set(rotate(idp)) <= {key["kid"] for key in published(idp)}


def test_a_retired_key_goes_when_nothing_it_signed_can_be_alive(idp: Idp) -> None:
    app = idp.register()
    kid = kid_of(idp.grant(app, idp.session(idp.person()))["id_token"])
    rotate(idp)
    assert RETIRED_PUBLISHED > DAY
    idp.clock.advance(RETIRED_PUBLISHED - SECOND)
    assert kid in {key["kid"] for key in published(idp)}
    idp.clock.advance(RELOAD_EVERY + 2 * SECOND)
    assert kid not in {key["kid"] for key in published(idp)}


def test_a_node_that_rested_refuses_nobody_while_it_reads_the_keys_again(
    idp: Idp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several requests at once, the first after an hour: only one of them reads."""
    rested = keys.Keyring(idp.work)
    for _ in range(2):
        rotate(idp)
        idp.clock.advance(HOUR)
    idp.app.provider.keyring.reload()
    token = idp.app.provider.keyring.sign("ES256", {"sub": "x"})
    read, reads, both = rested._read, [], threading.Barrier(2)

    def slowly() -> object:
        reads.append(both.wait(20))
        return read()

    monkeypatch.setattr(rested, "_read", slowly)
    found: list[object] = []

    def verify() -> None:
        found.append(rested.verify(token, typ=None))

    threads = [threading.Thread(target=verify) for _ in range(2)]
    for thread in threads:
        thread.start()
    both.wait(20)
    for thread in threads:
        thread.join()
    assert found == [{"sub": "x"}] * 2
    assert len(reads) == 1


def test_another_node_knows_a_key_before_it_is_used(idp: Idp) -> None:
    other = Idp(idp.settings, idp.clock)
    try:
        app = idp.register()
        rotate(idp)
        idp.app.provider.keyring.reload()
        tokens = idp.grant(app, idp.session(idp.person()))
        hinted = Flow(app).parameters(id_token_hint=tokens["id_token"])
        response = other.browser().get("/authorize", params=hinted)
        assert response.headers["location"].startswith("/login?")
    finally:
        other.close()
