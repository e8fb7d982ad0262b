"""What the example app accepts as a logout token (Back-Channel Logout 1.0 section 2.6)."""

import asyncio
import hmac
import json
import time
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from clients.web_app.logout_token import EVENT, Logout, LogoutTokens, NotALogoutToken

ISSUER = "https://id.example.com"
KEY = ECKey.generate_key("P-256", {"kid": "one", "use": "sig", "alg": "ES256"})
OTHER = ECKey.generate_key("P-256", {"kid": "two"})


@dataclass(frozen=True)
class Ahead:
    """A moment so many seconds from now; a test's name must not hold one of the clock's."""

    seconds: int


class Provider:
    """Publishes keys, and counts how often it is asked for them."""

    def __init__(self) -> None:
        self.keys = [KEY]
        self.cached = [KEY]
        self.fetched = 0

    async def __call__(self, *, force: bool = False) -> dict[str, Any]:
        if force:
            self.fetched += 1
            self.cached = list(self.keys)
        return KeySet(self.cached).as_dict(private=False)


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def tokens(provider: Provider) -> LogoutTokens:
    return LogoutTokens(issuer=ISSUER, client_id="app", fetch_keys=provider)


def claims(**changed: Any) -> dict[str, Any]:
    now = int(time.time())
    changed = {
        name: now + value.seconds if isinstance(value, Ahead) else value
        for name, value in changed.items()
    }
    whole = {
        "iss": ISSUER,
        "aud": "app",
        "iat": now,
        "exp": now + 120,
        "jti": "first",
        "sid": "ses_1",
        "sub": "usr_1",
        "events": {EVENT: {}},
        **changed,
    }
    return {name: value for name, value in whole.items() if value is not None}


def signed(body: dict[str, Any], *, key: Any = KEY, **header: Any) -> str:
    header = {"typ": "logout+jwt", "alg": "ES256", "kid": key.kid, **header}
    return jwt.encode(header, body, key, algorithms=[header["alg"]])


def check(tokens: LogoutTokens, token: object) -> Logout:
    return asyncio.run(tokens.check(token))


def test_a_logout_token_names_session_and_person(tokens: LogoutTokens) -> None:
    assert check(tokens, signed(claims())) == Logout("ses_1", "usr_1", is_repeated=False)


def test_an_audience_may_be_a_list(tokens: LogoutTokens) -> None:
    assert check(tokens, signed(claims(aud=["other", "app"]))).sid == "ses_1"


def test_a_repeated_token_is_known_as_such(tokens: LogoutTokens) -> None:
    token = signed(claims())
    assert not check(tokens, token).is_repeated
    assert check(tokens, token).is_repeated


def test_a_new_key_of_the_provider_is_fetched(tokens: LogoutTokens, provider: Provider) -> None:
    provider.keys = [KEY, OTHER]
    assert check(tokens, signed(claims(), key=OTHER)).sid == "ses_1"


def test_unknown_keys_do_not_make_the_app_fetch_at_any_rate(
    tokens: LogoutTokens, provider: Provider
) -> None:
    for _ in range(20):
        with pytest.raises(NotALogoutToken):
            check(tokens, signed(claims(), key=OTHER))
    assert provider.fetched == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "https://evil.example.com"},
        {"iss": None},
        {"aud": "another"},
        {"aud": ["another"]},
        {"aud": None},
        {"iat": None},
        {"iat": Ahead(3600)},
        {"iat": "now"},
        {"exp": None},
        {"exp": Ahead(-3600)},
        {"exp": Ahead(86_400)},
        {"exp": True},
        {"jti": None},
        {"jti": ""},
        {"events": None},
        {"events": {}},
        {"events": [EVENT]},
        {"events": {EVENT: "yes"}},
        {"events": {"http://schemas.openid.net/event/other": {}}},
        {"nonce": "n"},
        {"sid": None, "sub": None},
        {"sid": 7},
        {"sub": ""},
    ],
    ids=str,
)
def test_a_token_with_a_wrong_claim_is_refused(
    tokens: LogoutTokens, changed: dict[str, Any]
) -> None:
    with pytest.raises(NotALogoutToken):
        check(tokens, signed(claims(**changed)))


@pytest.mark.parametrize("typ", ["JWT", "at+jwt", "", "logout"])
def test_a_token_of_another_type_is_refused(tokens: LogoutTokens, typ: str) -> None:
    with pytest.raises(NotALogoutToken, match="typ"):
        check(tokens, signed(claims(), typ=typ))


def test_a_signature_by_a_shared_secret_is_refused(tokens: LogoutTokens) -> None:
    """The attack on a verifier that takes the public key for a shared secret."""
    header = {"typ": "logout+jwt", "alg": "HS256", "kid": "one"}
    parts = [urlsafe_b64encode(json.dumps(part).encode()) for part in (header, claims())]
    message = b".".join(part.rstrip(b"=") for part in parts)
    tag = urlsafe_b64encode(hmac.digest(KEY.as_pem(private=False), message, "sha256")).rstrip(b"=")
    with pytest.raises(NotALogoutToken, match="signature"):
        check(tokens, b".".join([message, tag]).decode())


def test_an_unsigned_token_is_refused(tokens: LogoutTokens) -> None:
    body = signed(claims()).split(".")[1]
    header = "eyJ0eXAiOiJsb2dvdXQrand0IiwiYWxnIjoibm9uZSJ9"
    with pytest.raises(NotALogoutToken):
        check(tokens, f"{header}.{body}.")


def test_an_altered_token_is_refused(tokens: LogoutTokens) -> None:
    first, second = signed(claims()), signed(claims(sid="ses_2"))
    mixed = ".".join([*second.split(".")[:2], first.split(".")[2]])
    with pytest.raises(NotALogoutToken):
        check(tokens, mixed)


@pytest.mark.parametrize("token", [None, "", "a.b.c", "x" * 20_000, "é.ü.ö", b"bytes", "a.b.c.d.e"])
def test_what_is_no_token_is_refused(tokens: LogoutTokens, token: object) -> None:
    with pytest.raises(NotALogoutToken):
        check(tokens, token)
