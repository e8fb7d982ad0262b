"""An authorization request, once it is known to be a good one.

Owns reading and checking its parameters. What comes of it is decided in `authorize`.
Specs: RFC 6749 section 4.1.1, OpenID Connect Core section 3.1.2.1, RFC 7636, RFC 8252, RFC 9700
section 2.1.
"""

import re
from dataclasses import dataclass
from typing import Any

from authlib.oauth2.rfc6749 import InvalidRequestError, OAuth2Error
from authlib.oauth2.rfc6749.errors import InvalidScopeError
from authlib.oidc.core.errors import (
    RegistrationNotSupportedError,
    RequestNotSupportedError,
    RequestURINotSupportedError,
)

from idp.oauth import claims, demands, id_token
from idp.oauth.facts import ClientFacts
from idp.oauth.grants.authorization_code import Pkce
from idp.oauth.provider import Provider
from idp.oauth.request import ProtocolRequest

PROMPTS = frozenset({"none", "login", "consent", "select_account"})
DISPLAYS = frozenset({"page", "popup", "touch", "wap"})
STATE_MAXIMUM = 4_096
NONCE_MAXIMUM = 1_024
SCOPE_MAXIMUM = 2_048
# Characters of a refused address that go to the log.
_SHOWN = 200
# RFC 6749 appendix A.4: printable ASCII without quote and backslash, single spaces between.
_SCOPE = re.compile(r"[\x21\x23-\x5B\x5D-\x7E]+( +[\x21\x23-\x5B\x5D-\x7E]+)*")
_STATE = re.compile(r"[\x20-\x7E]+")


@dataclass(frozen=True, slots=True)
class Requested:
    """A valid authorization request."""

    client: ClientFacts
    redirect_uri: str
    scope: str
    state: str | None
    nonce: str | None
    code_challenge: str | None
    prompt: frozenset[str]
    max_age: int | None
    claims: dict[str, Any]
    # Who alone may answer it (`named_people`); None when anybody may.
    people: frozenset[str] | None
    # The least of the demanded levels, when the request names one of ours.
    acr: str | None


class PageError(Exception):
    """A request that must not be redirected: client or redirect URI is not proven (RU-16).

    `detail` is for the log alone.
    """

    def __init__(self, code: str, sentence: str, *, detail: str | None = None) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.detail = detail


def validate(
    values: dict[str, str],
    repeated: frozenset[str],
    client: ClientFacts | None,
    provider: Provider,
) -> Requested:
    """The request as a value.

    Raises `PageError` while client and redirect URI are not proven, then `OAuth2Error` with the
    redirect URI set.
    """
    if client is None or client.disabled_at is not None or "client_id" in repeated:
        raise PageError("invalid_client", "The app that sent you here is not known.")
    redirect_uri = values.get("redirect_uri")
    if "redirect_uri" in repeated:
        raise PageError("invalid_request", "The app sent two addresses to return to.")
    if redirect_uri is None:
        raise PageError("invalid_request", "The app did not say where to return to.")
    if not redirect_uri_matches(redirect_uri, client):
        raise PageError(
            "invalid_redirect_uri",
            "The app asked to return to an address it has not registered.",
            # The page is for people and names no address; whoever connects the app looks for it here.
            detail=f"{client.id} asked to return to {redirect_uri[:_SHOWN]!r}",
        )
    try:
        return _validate_rest(values, repeated, client, redirect_uri, provider)
    except OAuth2Error as error:
        error.redirect_uri = redirect_uri
        raise


def redirect_uri_matches(redirect_uri: str, client: ClientFacts) -> bool:
    """Exact comparison, byte for byte (RFC 9700 section 2.1).

    The one deviation is RFC 8252 section 7.3: a native client may use any port on a loopback IP
    literal it registered.
    """
    if redirect_uri in client.redirect_uris:
        return True
    if client.application_type != "native":
        return False
    found = _LOOPBACK.fullmatch(redirect_uri)
    if found is None or not 1 <= int(found["port"] or 80) <= 65_535:
        return False
    without_port = f"http://{found['host']}{found['rest']}"
    return any(
        (known := _LOOPBACK.fullmatch(one)) is not None
        and f"http://{known['host']}{known['rest']}" == without_port
        for one in client.redirect_uris
    )


_LOOPBACK = re.compile(
    r"http://(?P<host>127\.0\.0\.1|\[::1\])(:(?P<port>[0-9]{1,5}))?(?P<rest>/[\x21-\x7E]*)"
)


def _validate_rest(
    values: dict[str, str],
    repeated: frozenset[str],
    client: ClientFacts,
    redirect_uri: str,
    provider: Provider,
) -> Requested:
    if repeated:
        raise InvalidRequestError("A parameter was sent more than once.")
    if "request" in values:
        raise RequestNotSupportedError("Request objects are not supported.")
    if "request_uri" in values:
        raise RequestURINotSupportedError("This request_uri is not known.")
    if "registration" in values:
        raise RegistrationNotSupportedError("An app cannot register itself in a request.")
    response_type = values.get("response_type")
    if response_type is None:
        raise InvalidRequestError("The parameter response_type is missing.")
    if response_type != "code":
        raise OAuth2Error(
            "Only response_type=code is supported.", error="unsupported_response_type"
        )
    if not client.check_response_type("code"):
        raise OAuth2Error("The client may not use the code flow.", error="unauthorized_client")
    if values.get("response_mode", "query") != "query":
        raise InvalidRequestError("Only response_mode=query is supported.")
    state, nonce = values.get("state"), values.get("nonce")
    if state is not None and (len(state) > STATE_MAXIMUM or not _STATE.fullmatch(state)):
        raise InvalidRequestError("state must be at most 4096 printable ASCII characters.")
    if nonce is not None and len(nonce) > NONCE_MAXIMUM:
        raise InvalidRequestError("nonce is too long.")
    _check_pkce(values, client, provider)
    prompt = frozenset(values.get("prompt", "").split())
    if not prompt <= PROMPTS or ("none" in prompt and len(prompt) > 1):
        raise InvalidRequestError("prompt is not valid.")
    if values.get("display", "page") not in DISPLAYS:
        raise InvalidRequestError("display is not valid.")
    max_age = values.get("max_age")
    if max_age is not None and not re.fullmatch(r"[0-9]{1,9}", max_age):
        raise InvalidRequestError("max_age must be a number of seconds.")
    requested_claims = claims.parse_parameter(values.get("claims", "{}"))
    if requested_claims is None:
        raise InvalidRequestError("claims is not a valid claims request.")
    return Requested(
        client=client,
        redirect_uri=redirect_uri,
        scope=requested_scope(values.get("scope"), client),
        state=state,
        nonce=nonce,
        code_challenge=values.get("code_challenge"),
        prompt=prompt,
        max_age=int(max_age) if max_age is not None else None,
        claims=claims.within(requested_claims, client.scope),
        people=named_people(values, provider),
        acr=demands.acr(values),
    )


def named_people(values: dict[str, str], provider: Provider) -> frozenset[str] | None:
    """Whose answer alone will do, as `id_token_hint` and a `sub` in `claims` say; None: anybody's.

    No other person's tokens may be the answer (OpenID Connect Core section 3.1.2.2). `claims` is one
    that was accepted; raises `invalid_request` for a hint that is none.
    """
    people = claims.demanded_sub(values.get("claims", "{}"))
    if "id_token_hint" not in values:
        return people
    hint = id_token.read_hint(
        values["id_token_hint"], issuer=provider.settings.issuer, keyring=provider.keyring
    )
    if hint is None:
        raise InvalidRequestError("id_token_hint is not an ID token of this provider.")
    hinted = frozenset({hint["sub"]})
    return hinted if people is None else hinted & people


def requested_scope(asked: str | None, client: ClientFacts) -> str:
    """What is asked for of what the client may have; raises `invalid_scope` when nothing is left."""
    if asked is not None and (len(asked) > SCOPE_MAXIMUM or not _SCOPE.fullmatch(asked)):
        raise InvalidScopeError("scope is not valid.")
    allowed = client.get_allowed_scope(asked)
    if allowed is None:
        raise InvalidScopeError("The client may have none of these scopes.")
    scopes = allowed.split()
    if "offline_access" in scopes and not client.check_grant_type("refresh_token"):
        scopes.remove("offline_access")
    return " ".join(scopes)


class _PkceAsked:
    """What the PKCE extension looks at, without a whole authlib grant around it."""

    def __init__(self, request: ProtocolRequest) -> None:
        self.request = request


def _check_pkce(values: dict[str, str], client: ClientFacts, provider: Provider) -> None:
    request = ProtocolRequest(
        "GET", f"{provider.settings.issuer}/authorize", values=values, headers={}
    )
    request.client = client
    Pkce().validate_code_challenge(_PkceAsked(request), "")
