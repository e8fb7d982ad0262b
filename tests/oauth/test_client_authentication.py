"""How apps prove who they are at the token side (RFC 6749 section 2.3, RFC 7523)."""

import base64
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote_plus

import orjson
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey

from idp.clock import SECOND
from idp.oauth import clients
from idp.oauth.client_auth import ASSERTION_TYPE
from idp.oauth.model import Client
from tests.harness.provider import ADMIN, ISSUER, Flow, Idp, Registered
from tests.harness.receivers import Receiver, listening, saying

Key = ECKey | RSAKey | OKPKey
OWN = {"grant_type": "client_credentials"}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """An app's web server, for its `jwks_uri`."""
    with listening() as receivers:
        yield receivers.add()


def status_of(idp: Idp, form: dict[str, str], **headers: str) -> int:
    response = idp.browser().post("/token", data=OWN | form, headers=headers)
    if response.status_code == 401:
        assert response.json()["error"] == "invalid_client"
        assert response.headers["www-authenticate"].startswith('Basic realm="')
    return int(response.status_code)


def basic(client_id: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()


def test_the_secret_comes_in_the_header_form_encoded_or_not(idp: Idp) -> None:
    app = idp.register()
    secret = str(app.secret)
    assert status_of(idp, {}, Authorization=basic(app.id, secret)) == 200
    encoded = "".join(f"%{ord(character):02x}" for character in secret)
    assert status_of(idp, {}, Authorization=basic(quote_plus(app.id), encoded)) == 200
    assert status_of(idp, {"client_id": app.id}, Authorization=basic(app.id, secret)) == 200
    assert status_of(idp, {}, Authorization=basic(app.id, secret).replace("Basic", "bAsIc")) == 200
    for wrong in (secret[:-1], secret + "x", secret.upper(), "", f"{secret} ", "%"):
        assert status_of(idp, {}, Authorization=basic(app.id, wrong)) == 401, wrong
    for odd in (f"{app.id}%00", f"%00{app.id}"):
        assert status_of(idp, {}, Authorization=basic(odd, secret)) == 401, odd
        assert status_of(idp, {}, Authorization=basic(app.id, f"{secret}%00")) == 401


def test_a_secret_from_elsewhere_works_for_libraries_that_do_not_encode_it(idp: Idp) -> None:
    """Guzzle, requests and curl send it as it is; Go, Spring and mod_auth_openidc encode it."""
    app, secret = idp.register(), "s+%41/" + "x" * 40 + "=="
    with idp.work.begin() as unit:
        clients.set_secret(unit, unit.orm.get_one(Client, app.id), secret, actor=ADMIN)
    for sent in (secret, quote_plus(secret)):
        assert status_of(idp, {}, Authorization=basic(app.id, sent)) == 200
    assert status_of(idp, {}, Authorization=basic(app.id, secret.replace("%41", "A"))) == 401


def test_a_way_that_was_not_registered_spends_nothing(idp: Idp) -> None:
    """Go's oauth2 (Grafana, Gitea) finds out by trying: first the header, then the form."""
    app = idp.register(token_endpoint_auth_method="client_secret_post")
    flow = Flow(app)
    code = idp.authorize(idp.signed_in_browser(idp.session(idp.person())), flow.parameters())[
        "code"
    ]
    form = {
        "grant_type": "authorization_code", "code": code, "redirect_uri": app.redirect_uri,
        "code_verifier": flow.verifier,
    }  # fmt: skip
    assert status_of(idp, form, Authorization=basic(app.id, str(app.secret))) == 401
    form |= {"client_id": app.id, "client_secret": str(app.secret)}
    assert status_of(idp, form) == 200


def test_the_secret_comes_in_the_form_where_that_was_registered(idp: Idp) -> None:
    app = idp.register(token_endpoint_auth_method="client_secret_post")
    form = {"client_id": app.id, "client_secret": str(app.secret)}
    assert status_of(idp, form) == 200
    assert status_of(idp, form | {"client_secret": "x"}) == 401
    assert status_of(idp, {}, Authorization=basic(app.id, str(app.secret))) == 401
    other = idp.register()
    assert status_of(idp, {"client_id": other.id, "client_secret": str(other.secret)}) == 401


def test_who_knows_the_secret_and_sends_it_otherwise_is_told_so(idp: Idp) -> None:
    """Nobody else: whoever guesses at secrets learns nothing of how they would be sent."""
    app = idp.register()
    for secret, told in ((str(app.secret), "by client_secret_basic."), ("x", "failed.")):
        form = OWN | {"client_id": app.id, "client_secret": secret}
        answer = idp.browser().post("/token", data=form)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
        assert answer.json()["error_description"].endswith(told)


def test_only_one_way_may_be_used_at_a_time(idp: Idp) -> None:
    app = idp.register()
    header = basic(app.id, str(app.secret))
    assert status_of(idp, {"client_secret": str(app.secret)}, Authorization=header) == 400
    assertion = {"client_assertion": "x", "client_assertion_type": ASSERTION_TYPE}
    assert status_of(idp, assertion, Authorization=header) == 400
    assert status_of(idp, {"client_id": "another"}, Authorization=header) == 400


def test_of_two_headers_neither_counts(idp: Idp) -> None:
    """Nor may one that somebody before us has looked at stand beside another that we look at."""
    app, other = idp.register(), idp.register()
    good = basic(app.id, str(app.secret))
    tokens = idp.grant(app, idp.session(idp.person()))
    for second in (good, basic(other.id, str(other.secret)), "Basic eDp5", "Bearer x"):
        for pair in ((good, second), (second, good)):
            headers = [("Authorization", one) for one in pair]
            assert idp.browser().post("/token", data=OWN, headers=headers).status_code == 401
    bearer = f"Bearer {tokens['access_token']}"
    for path in ("/userinfo", "/api/v1/users/sessions"):
        headers = [("Authorization", bearer), ("Authorization", "Bearer x")]
        for pair in (headers, headers[::-1]):
            assert idp.browser().get(path, headers=pair).status_code == 401, path


def test_an_old_secret_works_until_the_next_rotation(idp: Idp) -> None:
    app = idp.register()

    def rotate() -> str:
        with idp.work.begin() as unit:
            client = unit.orm.get_one(Client, app.id)
            return clients.rotate_secret(unit, client, actor=ADMIN)

    secrets = [str(app.secret), rotate()]
    assert [status_of(idp, {}, Authorization=basic(app.id, one)) for one in secrets] == [200, 200]
    secrets.append(rotate())
    works = [status_of(idp, {}, Authorization=basic(app.id, one)) for one in secrets]
    assert works == [401, 200, 200]


def test_a_public_client_says_only_its_name(idp: Idp) -> None:
    app = idp.register(
        token_endpoint_auth_method="none", grant_types=["authorization_code", "refresh_token"],
        first_party=0, application_type="native", redirect_uris=["http://127.0.0.1/cb"],
    )  # fmt: skip
    assert status_of(idp, {"client_id": app.id}) == 400
    for form in ({"client_id": app.id, "client_secret": "x"}, {}):
        assert status_of(idp, form) == 401
    assert status_of(idp, {}, Authorization=basic(app.id, "")) == 401


def test_a_disabled_client_is_refused_whatever_it_presents(idp: Idp) -> None:
    app = idp.register()
    idp.execute("UPDATE clients SET disabled_at = 1")
    assert status_of(idp, {}, Authorization=basic(app.id, str(app.secret))) == 401


# --- private_key_jwt ------------------------------------------------------------------------


def register(idp: Idp, *keys: Key, **values: Any) -> Registered:
    registered: dict[str, Any] = {"jwks": document(*keys)} if keys else {}
    return idp.register(token_endpoint_auth_method="private_key_jwt", **registered, **values)


def document(*keys: Key) -> dict[str, Any]:
    return dict(KeySet(list(keys)).as_dict(private=False))


def assertion(idp: Idp, app: Registered, key: Key, alg: str = "ES256", **header: Any) -> str:
    now = idp.clock.now() // SECOND
    claims = {"iss": app.id, "sub": app.id, "aud": ISSUER, "iat": now, "exp": now + 60}
    claims["jti"] = base64.b64encode(repr((now, key.kid, len(_made))).encode()).decode()
    _made.append(claims["jti"])
    return jwt.encode({"alg": alg, **header}, claims, key, algorithms=[alg])


_made: list[str] = []


def with_assertion(idp: Idp, made: str, **form: str) -> int:
    sent = {"client_assertion_type": ASSERTION_TYPE, "client_assertion": made, **form}
    return status_of(idp, sent)


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
@pytest.mark.parametrize(
    ("alg", "key"),
    [
        ("ES256", ECKey.generate_key("P-256")),
        ("RS256", RSAKey.generate_key(2048)),
        ("PS256", RSAKey.generate_key(2048)),
        ("EdDSA", OKPKey.generate_key("Ed25519")),
        ("Ed25519", OKPKey.generate_key("Ed25519")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_client_signs_with_any_algorithm_we_name(idp: Idp, alg: str, key: Key) -> None:
    app = register(idp, key)
    assert with_assertion(idp, assertion(idp, app, key, alg)) == 200
    stranger = type(key).generate_key({"EC": "P-256", "OKP": "Ed25519"}.get(key.key_type, 2048))
    assert with_assertion(idp, assertion(idp, app, stranger, alg)) == 401


def test_an_assertion_works_once(either_idp: Idp) -> None:
    idp = either_idp
    key = ECKey.generate_key("P-256")
    app = register(idp, key)
    made = assertion(idp, app, key)
    assert [with_assertion(idp, made) for _ in range(3)] == [200, 401, 401]
    # It is spent also by a request that failed for another reason.
    other = assertion(idp, app, key)
    assert with_assertion(idp, other, scope="unknown") == 400
    assert with_assertion(idp, other) == 401
    assert with_assertion(idp, assertion(idp, app, key)) == 200


@pytest.mark.attack("JW-11")
def test_what_a_client_signed_for_another_purpose_is_no_assertion(idp: Idp) -> None:
    key = ECKey.generate_key("P-256")
    app = register(idp, key)
    for typ in ("JWT", "jwt", "application/jwt", "client-authentication+jwt"):
        assert with_assertion(idp, assertion(idp, app, key, typ=typ)) == 200, typ
    for typ in ("oauth-authz-req+jwt", "dpop+jwt", "at+jwt", "logout+jwt", "secevent+jwt", ""):
        assert with_assertion(idp, assertion(idp, app, key, typ=typ)) == 401, typ


def test_an_assertion_is_spent_everywhere_at_once(idp: Idp) -> None:
    key = ECKey.generate_key("P-256")
    app = register(idp, key)
    made = assertion(idp, app, key)
    form = {"client_assertion_type": ASSERTION_TYPE, "client_assertion": made, "token": "x"}
    browser = idp.browser()
    assert browser.post("/introspect", data=form).status_code == 200
    assert browser.post("/revoke", data=form).status_code == 401
    assert browser.post("/introspect", data=form).status_code == 401
    assert with_assertion(idp, made) == 401


def test_of_several_keys_the_named_one_counts(idp: Idp) -> None:
    keys = [ECKey.generate_key("P-256", {"kid": name}) for name in ("one", "two")]
    app = register(idp, *keys)
    assert with_assertion(idp, assertion(idp, app, keys[1], kid="two")) == 200
    assert with_assertion(idp, assertion(idp, app, keys[1], kid="one")) == 401
    assert with_assertion(idp, assertion(idp, app, keys[1], kid="three")) == 401


def test_a_client_serves_its_keys_and_may_change_them(idp: Idp, receiver: Receiver) -> None:
    old, new = (ECKey.generate_key("P-256", {"kid": name}) for name in ("old", "new"))
    app = register(idp, jwks_uri=receiver.uri)

    def serve(*keys: Key) -> None:
        kind = "Content-Type: application/json\r\n"
        receiver.answering = saying("200 OK", body=orjson.dumps(document(*keys)), headers=kind)

    serve(old)
    assert with_assertion(idp, assertion(idp, app, old, kid="old")) == 200
    assert with_assertion(idp, assertion(idp, app, old, kid="old")) == 200
    assert receiver.connections == 1
    # A key that is not known is looked for again, at once, but not for everybody who makes one up.
    serve(new)
    assert with_assertion(idp, assertion(idp, app, new, kid="new")) == 200
    assert receiver.connections == 2
    for _ in range(3):
        assert with_assertion(idp, assertion(idp, app, old, kid="made up")) == 401
    assert receiver.connections == 2
    idp.clock.advance(10 * SECOND)
    assert with_assertion(idp, assertion(idp, app, old, kid="made up")) == 401
    assert receiver.connections == 3
    assert with_assertion(idp, assertion(idp, app, old, kid="old")) == 401


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"keys":1}',
        b'{"keys":[1]}',
        b'{"keys":[{"kid":"k"}]}',
        b"\xff",
        b"null",
    ],
)
def test_keys_that_cannot_be_read_are_no_server_error(
    idp: Idp, receiver: Receiver, body: bytes
) -> None:
    key = ECKey.generate_key("P-256", {"kid": "k"})
    receiver.answering = saying("200 OK", body=body, headers="Content-Type: application/json\r\n")
    app = register(idp, jwks_uri=receiver.uri)
    assert with_assertion(idp, assertion(idp, app, key, kid="k")) == 401
    assert with_assertion(idp, assertion(idp, app, key)) == 401


def test_known_keys_survive_an_outage_of_the_clients_server(idp: Idp, receiver: Receiver) -> None:
    key = ECKey.generate_key("P-256", {"kid": "k"})
    body = orjson.dumps(document(key))
    receiver.answering = saying("200 OK", body=body, headers="Content-Type: application/json\r\n")
    app = register(idp, jwks_uri=receiver.uri)
    assert with_assertion(idp, assertion(idp, app, key, kid="k")) == 200
    receiver.answering = saying("500 Oops")
    assert with_assertion(idp, assertion(idp, app, key, kid="made up")) == 401
    assert with_assertion(idp, assertion(idp, app, key, kid="k")) == 200


def test_keys_that_could_not_be_fetched_are_tried_again_soon(idp: Idp, receiver: Receiver) -> None:
    key = ECKey.generate_key("P-256", {"kid": "k"})
    receiver.answering = saying("500 Oops")
    app = register(idp, jwks_uri=receiver.uri)
    assert with_assertion(idp, assertion(idp, app, key, kid="k")) == 401
    body = orjson.dumps(document(key))
    receiver.answering = saying("200 OK", body=body, headers="Content-Type: application/json\r\n")
    idp.clock.advance(5 * SECOND)
    assert with_assertion(idp, assertion(idp, app, key, kid="k")) == 200
