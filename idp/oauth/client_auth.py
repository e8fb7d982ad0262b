"""Client authentication: basic, post, none, private_key_jwt.

Two steps, because the facts are read in between: `presented` says who the caller claims to be and
with what; `verify` decides on the facts. Exactly one method may be used, and it must be the one the
client registered. Specs: RFC 6749 sections 2.3 and 3.2.1, RFC 7523 section 3, rfc7523bis (audience
and `typ`).
"""

import base64
import binascii
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_plus

import orjson
from authlib.oauth2.rfc6749 import InvalidClientError, InvalidRequestError
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from sqlalchemy import bindparam
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import Insert

from idp import ids
from idp.clock import SECOND, Instant, to_seconds
from idp.oauth.facts import ClientFacts, TokenFacts
from idp.oauth.model import UsedAssertion
from idp.oauth.provider import NeedsClientKeys, Provider
from idp.storage.database import HotStatement, Write

METHODS = ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"]
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_ALGORITHMS = ["ES256", "RS256", "PS256", "EdDSA", "Ed25519"]
# What the client signed for another purpose (a request object, a logout token of its own) is none.
_TYPES = frozenset({"jwt", "client-authentication+jwt"})
ASSERTION_MAXIMUM = 8_192
# An assertion may live five minutes (CL-10), so the table of used ones stays small.
ASSERTION_LIFETIME = 300
SKEW = 30
_JWKS_KEPT = 300 * SECOND
_JWKS_AGAIN = 10 * SECOND


@dataclass(frozen=True, slots=True)
class Presented:
    """What a caller presented; nothing of it has been verified."""

    method: str
    client_id: str
    # As it may have been meant: from the header, form-encoded or not.
    secrets: tuple[str, ...] = ()
    assertion: str = ""
    claims: dict[str, Any] = field(default_factory=dict)

    @property
    def assertion_jti(self) -> str:
        """Digest of the assertion's `jti`, which bounds its length; empty for other methods."""
        return ids.digest(str(self.claims.get("jti", ""))) if self.assertion else ""


def presented(form: Mapping[str, str], headers: Mapping[str, str]) -> Presented:
    """Who the caller says it is. Raises `invalid_client` or, for two methods, `invalid_request`."""
    authorization = headers.get("authorization", "")
    ways = [
        bool(authorization),
        "client_secret" in form,
        "client_assertion" in form or "client_assertion_type" in form,
    ]
    if sum(ways) > 1:
        raise InvalidRequestError("More than one client authentication method was used.")
    if authorization:
        found = _basic(authorization)
        if form.get("client_id", found.client_id) != found.client_id:
            raise InvalidRequestError("client_id differs from the authenticated client.")
        return found
    if ways[2]:
        return _assertion(form)
    client_id = form.get("client_id", "")
    if not client_id:
        raise InvalidClientError("The client did not authenticate.", status_code=401)
    if "client_secret" in form:
        return Presented("client_secret_post", client_id, secrets=(form["client_secret"],))
    return Presented("none", client_id)


def verify(
    presented: Presented, facts: TokenFacts, provider: Provider, now: Instant
) -> tuple[ClientFacts, list[Write]]:
    """The authenticated client, and what must be written so that an assertion works once."""
    client = facts.client
    if client is None or client.disabled_at is not None:
        raise _refused()
    if client.token_endpoint_auth_method != presented.method:
        # Half of all libraries choose another way than the app was registered with. Who knows the
        # secret may know what is wrong.
        raise _sent_otherwise(client) if _knows_secret(presented, client) else _refused()
    if presented.method == "none":
        return client, []
    if presented.method == "private_key_jwt":
        _verify_assertion(presented, client, provider, now)
        if facts.assertion_used:
            raise _refused()
        return client, [_spend(presented, provider, now)]
    if not _knows_secret(presented, client):
        raise _refused()
    return client, []


def _knows_secret(presented: Presented, client: ClientFacts) -> bool:
    known = [one for one in (client.secret_hash, client.previous_secret_hash) if one]
    digests = [ids.digest(one) for one in presented.secrets]
    # A list, so that all are compared whatever the first one says.
    return True in [hmac.compare_digest(digest, one) for digest in digests for one in known]


def _sent_otherwise(client: ClientFacts) -> InvalidClientError:
    registered = client.token_endpoint_auth_method
    return InvalidClientError(
        f"The secret is right, but this client was registered to authenticate by {registered}.",
        status_code=401,
    )


def _refused() -> InvalidClientError:
    return InvalidClientError("Client authentication failed.", status_code=401)


def _basic(header: str) -> Presented:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        raise _refused()
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        raise _refused() from None
    client_id, colon, secret = decoded.partition(":")
    if not colon or not client_id:
        raise _refused()
    # RFC 6749 section 2.3.1: both halves are form-encoded before they are joined. Many clients do not,
    # which shows in a secret that was made elsewhere and has a "+" or "%" in it.
    name, decoded_secret = _unquoted(client_id), _unquoted(secret)
    if name is None:
        raise _refused()
    secrets = (secret,) if decoded_secret is None else (decoded_secret, secret)
    return Presented("client_secret_basic", name, secrets=tuple(dict.fromkeys(secrets)))


def _unquoted(text: str) -> str | None:
    """What was form-encoded; None when nothing was, because no text comes of it."""
    try:
        found = unquote_plus(text, errors="strict")
    except UnicodeDecodeError:
        return None
    return found if "\x00" not in found else None


def _assertion(form: Mapping[str, str]) -> Presented:
    assertion = form.get("client_assertion", "")
    if form.get("client_assertion_type") != ASSERTION_TYPE or not assertion:
        raise _refused()
    if len(assertion) > ASSERTION_MAXIMUM or assertion.count(".") != 2:
        raise _refused()
    try:
        claims = orjson.loads(jws.extract_compact(assertion.encode()).payload)
    except (JoseError, ValueError, TypeError):
        raise _refused() from None
    client_id = claims.get("sub") if isinstance(claims, dict) else None
    if not isinstance(client_id, str) or not client_id or "\x00" in client_id:
        raise _refused()
    if form.get("client_id", client_id) != client_id:
        raise InvalidRequestError("client_id differs from the authenticated client.")
    return Presented("private_key_jwt", client_id, assertion=assertion, claims=claims)


def _verify_assertion(
    presented: Presented, client: ClientFacts, provider: Provider, now: Instant
) -> None:
    try:
        header = jws.extract_compact(presented.assertion.encode()).headers()
        if not isinstance(header, dict):
            raise _refused()
        if "crit" in header or "b64" in header or header.get("alg") not in ASSERTION_ALGORITHMS:
            raise _refused()
        if str(header.get("typ", "JWT")).lower().removeprefix("application/") not in _TYPES:
            raise _refused()
        found = _keys_of(client, provider, header.get("kid"))
        keys = KeySet.import_key_set(found)  # type: ignore[arg-type]
        claims = jwt.decode(presented.assertion, keys, algorithms=ASSERTION_ALGORITHMS).claims
    except (JoseError, ValueError, TypeError, KeyError):
        raise _refused() from None
    seconds = to_seconds(now)
    expires, issued, begins = (claims.get(name) for name in ("exp", "iat", "nbf"))
    if claims.get("iss") != client.id or claims.get("sub") != client.id:
        raise _refused()
    if not _audience_is_us(claims.get("aud"), client, provider):
        raise _refused()
    if not isinstance(expires, int | float) or isinstance(expires, bool):
        raise _refused()
    if expires <= seconds - SKEW or expires > seconds + ASSERTION_LIFETIME + SKEW:
        raise _refused()
    for instant in (issued, begins):
        if instant is not None and (
            not isinstance(instant, int | float) or instant > seconds + SKEW
        ):
            raise _refused()
    if issued is not None and expires - issued > ASSERTION_LIFETIME:
        raise _refused()
    if not isinstance(claims.get("jti"), str) or not claims["jti"]:
        raise _refused()


def _audience_is_us(audience: object, client: ClientFacts, provider: Provider) -> bool:
    """rfc7523bis: our issuer as a single string; "lenient" clients may also name `/token`."""
    issuer = provider.settings.issuer
    if audience == issuer:
        return True
    if client.assertion_audience != "lenient":
        return False
    named = audience if isinstance(audience, list) else [audience]
    return any(one in (issuer, f"{issuer}/token") for one in named)


def _keys_of(client: ClientFacts, provider: Provider, kid: object) -> dict[str, Any]:
    if client.jwks_json:
        found: dict[str, Any] = orjson.loads(client.jwks_json)
        return found
    if not client.jwks_uri:
        raise _refused()
    cached = provider.store.get(f"jwks:{client.jwks_uri}")
    if cached is None:
        raise NeedsClientKeys(client.jwks_uri)
    if not cached:
        raise _refused()
    loaded: dict[str, Any] = orjson.loads(cached)
    known = [key.get("kid") for key in loaded.get("keys", ()) if isinstance(key, dict)]
    # The client has new keys, or somebody makes kids up: asked again, but not all the time.
    if kid not in (None, *known) and (
        provider.store.increment(f"jwks again:{client.jwks_uri}", _JWKS_AGAIN) == 1
    ):
        raise NeedsClientKeys(client.jwks_uri)
    return loaded


def fetch_keys(jwks_uri: str, provider: Provider) -> None:
    """Brings a client's keys into the Store; a failure is kept for a short while as none."""
    try:
        document = provider.outbound.get_json(jwks_uri)
        value = orjson.dumps(document) if isinstance(document, dict) else b""
    except Exception:
        value = b""
    if value or not provider.store.get(f"jwks:{jwks_uri}"):
        provider.store.set(f"jwks:{jwks_uri}", value, _JWKS_KEPT if value else 5 * SECOND)


def _on_conflict_do_nothing(module: Any) -> Insert:
    statement: Insert = (
        module.insert(UsedAssertion)
        .values(
            client_id=bindparam("client_id"),
            jti=bindparam("jti"),
            expires_at=bindparam("expires_at"),
        )
        .on_conflict_do_nothing()
    )
    return statement


# One statement a dialect: "insert unless there" is not in the common language.
_SPEND = {
    True: HotStatement(_on_conflict_do_nothing(sqlite), must_change=True),
    False: HotStatement(_on_conflict_do_nothing(postgresql), must_change=True),
}


def _spend(presented: Presented, provider: Provider, now: Instant) -> Write:
    return Write(
        _SPEND[provider.work.database.is_sqlite],
        {
            "client_id": presented.client_id,
            "jti": presented.assertion_jti,
            "expires_at": now + (ASSERTION_LIFETIME + 2 * SKEW) * SECOND,
        },
    )
