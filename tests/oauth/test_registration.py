"""What an app's metadata may say (RFC 7591 section 2): what would be refused later is refused here."""

from typing import Any

import pytest

from idp.errors import Refused
from idp.oauth import clients
from idp.oauth.model import Client
from tests.harness.provider import ADMIN, Idp

PUBLIC: dict[str, Any] = {
    "token_endpoint_auth_method": "none",
    "grant_types": ["authorization_code"],
}
OCT = {"keys": [{"kty": "oct", "k": "A" * 43}]}
PRIVATE_KEY = {
    "kty": "EC", "crv": "P-256", "d": "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE",
    "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
}  # fmt: skip


SENSELESS: tuple[dict[str, Any], ...] = (
    {"name": ""}, {"name": " "}, {"name": "x" * 81}, {"name": "a\nb"}, {"name": "a\u202eb"},
    {"redirect_uris": []}, {"redirect_uris": ["https://a.example/"] * 51},
    {"grant_types": []}, {"grant_types": ["implicit"]}, {"grant_types": ["password"]},
    {"token_endpoint_auth_method": "client_secret_jwt"}, {"token_endpoint_auth_method": ""},
    {**PUBLIC, "grant_types": ["client_credentials"]}, {**PUBLIC, "require_pkce": 0},
    {"application_type": "spa"}, {"access_token_format": "jws"},
    {"id_token_signed_response_alg": "none"}, {"id_token_signed_response_alg": "HS256"},
    {"assertion_audience": "any"},
    {"token_endpoint_auth_method": "private_key_jwt"},
    {"token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": "x"}},
    {"token_endpoint_auth_method": "private_key_jwt", "jwks": {}},
    {"token_endpoint_auth_method": "private_key_jwt", "jwks": OCT},
    {"token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [PRIVATE_KEY]}},
    {"jwks_uri": "http://169.254.169.254/"}, {"jwks_uri": "file:///x"}, {"jwks_uri": "x"},
    {"backchannel_logout_uri": "http://10.0.0.1/"}, {"backchannel_logout_uri": "javascript:x"},
    {"scope": 'openid "x"'}, {"scope": "openid \\"}, {"scope": "x" * 81}, {"scope": "ö"},
    {"access_token_lifetime": 29}, {"access_token_lifetime": 86_401},
    {"refresh_token_lifetime": 29}, {"refresh_token_lifetime": 401 * 86_400},
    {"client_uri": "javascript:alert(1)"}, {"client_uri": "https://a.example/\n<b>"},
    {"client_uri": "//a.example"},
)  # fmt: skip


def test_metadata_that_makes_no_sense_is_refused(idp: Idp) -> None:
    for values in SENSELESS:
        with pytest.raises(Refused) as caught:
            idp.register(**values)
        assert caught.value.code == "invalid_client_metadata", values
    assert idp.count("clients") == 0


def test_a_change_is_checked_like_a_registration_and_recorded(idp: Idp) -> None:
    app = idp.register()
    with idp.work.begin() as unit:
        client = unit.orm.get_one(Client, app.id)
        clients.change(unit, client, actor=ADMIN, name="Other", scope="openid")
    [event] = idp.events("client.changed")
    assert (event["actor_id"], event["client_id"]) == ("test", app.id)
    for values in (
        {"redirect_uris": ["https://*.example/"]},
        {"id": "cli_other"},
        {"secret_hash": "x"},
        {"token_endpoint_auth_method": "none"},
        {"token_generation": 0},
    ):
        with pytest.raises(Refused), idp.work.begin() as unit:
            clients.change(unit, unit.orm.get_one(Client, app.id), actor=ADMIN, **values)
    with idp.work.read() as unit:
        [client] = clients.all_of(unit)
    assert (client.name, client.redirect_uris) == ("Other", [app.redirect_uri])


def test_an_address_of_before_its_query_was_looked_at_does_not_keep_an_app_from_change(
    idp: Idp,
) -> None:
    app = idp.register()
    old = "https://a.example/cb?state=x"
    idp.execute("UPDATE clients SET redirect_uris = :uris", uris=f'["{old}"]')
    with idp.work.begin() as unit:
        client = unit.orm.get_one(Client, app.id)
        clients.change(unit, client, actor=ADMIN, name="Better", redirect_uris=[old])
    for wanted in ([f"{old}y"], [old, "https://a.example/?code="]):
        with pytest.raises(Refused, match="query"), idp.work.begin() as unit:
            clients.change(
                unit, unit.orm.get_one(Client, app.id), actor=ADMIN, redirect_uris=wanted
            )
    with idp.work.read() as unit:
        client = unit.orm.get_one(Client, app.id)
        assert (client.name, client.redirect_uris) == ("Better", [old])


def test_a_name_that_is_taken_is_refused(idp: Idp) -> None:
    app = idp.register(client_id="shop")
    with pytest.raises(Refused, match="exists already"):
        idp.register(client_id="shop")
    assert idp.token(app, grant_type="client_credentials")[0] == 200


def test_only_a_digest_of_a_secret_is_kept(idp: Idp) -> None:
    app = idp.register()
    secret = str(app.secret)
    assert len(secret) == 43
    with idp.work.read() as unit:
        rows = unit.connection.exec_driver_sql("SELECT * FROM clients").all()
    assert secret not in repr(rows)
