"""The authorization endpoint: validate the request, decide the next step, issue the code.

`/authorize` is a dispatcher over stored state. A request that needs a person is pushed to ourselves
(`pushed`), the pages carry its reference and always come back here, and here everything is decided
again. `next_step` is an ordered list of named checks; the first that fails names the page, the
reason, and the `prompt=none` error.

Specs: RFC 6749 section 4.1, OpenID Connect Core section 3.1.2, RFC 9207, RFC 9700 section 2.1.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import urlencode

from authlib.oauth2.rfc6749 import AccessDeniedError, InvalidRequestError, OAuth2Error
from authlib.oauth2.rfc6749.errors import InvalidScopeError
from authlib.oidc.core.errors import (
    AccountSelectionRequiredError,
    ConsentRequiredError,
    InteractionRequiredError,
    LoginRequiredError,
    RequestNotSupportedError,
    RequestURINotSupportedError,
)

from idp import ids
from idp.clock import SECOND, Instant
from idp.events.catalogue import AuthorizationIssued
from idp.events.log import hot_write
from idp.oauth import authorizations, claims, consent, demands, id_token
from idp.oauth.discovery import SCOPES
from idp.oauth.facts import AuthorizeFacts, ClientFacts, SessionFacts, UserFacts
from idp.oauth.grants.authorization_code import Pkce
from idp.oauth.provider import Provider
from idp.oauth.request import ProtocolRequest
from idp.oauth.server import as_json
from idp.policy import assurance
from idp.policy.assurance import Demand, Proof, Rules
from idp.policy.selection import Subject
from idp.policy.timeouts import ran_out
from idp.sessions import hot
from idp.sessions.subject import subject
from idp.storage.database import Write
from idp.users.model import ACTIVE

PROMPTS = frozenset({"none", "login", "consent", "select_account"})
DISPLAYS = frozenset({"page", "popup", "touch", "wap"})
STATE_MAXIMUM = 4_096
NONCE_MAXIMUM = 1_024
SCOPE_MAXIMUM = 2_048
# RFC 6749 appendix A.4: printable ASCII without quote and backslash, single spaces between.
_SCOPE = re.compile(r"[\x21\x23-\x5B\x5D-\x7E]+( +[\x21\x23-\x5B\x5D-\x7E]+)*")
_STATE = re.compile(r"[\x20-\x7E]+")

# "none": no page can help, the error goes to the app.
Page = Literal["login", "step-up", "consent", "none"]


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
    # Of the `id_token_hint`, when one was sent and is ours.
    hinted_sub: str | None
    # The least of the demanded levels, when the request names one of ours.
    acr: str | None


@dataclass(frozen=True, slots=True)
class Moment:
    """Everything `next_step` looks at."""

    requested: Requested
    session: SessionFacts | None
    user: UserFacts | None
    consented_scope: str | None
    # What the session proved, and what this request asks for.
    proofs: tuple[Proof, ...]
    demand: Demand
    # Of the pending request: which session signed in, consented or refused for this very request.
    authenticated_session_id: str | None
    consented_session_id: str | None
    is_denied: bool
    now: Instant


@dataclass(frozen=True, slots=True)
class Step:
    """A page that must come first, why, and what `prompt=none` answers instead."""

    page: Page
    reason: str
    error: type[OAuth2Error]


class PageError(Exception):
    """A request that must not be redirected: client or redirect URI is not proven (RU-16)."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


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
            "invalid_redirect_uri", "The app asked to return to an address it has not registered."
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
    hinted_sub = None
    if "id_token_hint" in values:
        hint = id_token.read_hint(
            values["id_token_hint"], issuer=provider.settings.issuer, keyring=provider.keyring
        )
        if hint is None:
            raise InvalidRequestError("id_token_hint is not an ID token of this provider.")
        hinted_sub = hint["sub"]
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
        hinted_sub=hinted_sub,
        acr=demands.acr(values),
    )


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


def moment(requested: Requested, facts: AuthorizeFacts, rules: Rules, now: Instant) -> Moment:
    """The facts as `next_step` sees them.

    A session that ran out, or whose person may not sign in, counts as none.
    """
    session, user = facts.session, facts.user
    if session is not None and (
        user is None
        or user.status != ACTIVE
        or ran_out(idle_at=session.idle_at, expires_at=session.expires_at, now=now) is not None
    ):
        session = user = None
    pending = facts.pending
    authenticated = pending.authenticated_session_id if pending else None
    begun = (
        pending.created_at
        if pending is not None and session is not None and authenticated == session.id
        else None
    )
    return Moment(
        requested=requested,
        session=session,
        user=user,
        consented_scope=facts.consented_scope if session is not None else None,
        proofs=session.proofs if session is not None else (),
        demand=demands.demand(
            acr=requested.acr,
            client_acr=requested.client.minimum_acr,
            prompt=requested.prompt,
            max_age=requested.max_age,
            rules=rules,
            of=subject(session, user.roles, requested.client.id)
            if session is not None and user is not None
            else Subject(client_id=requested.client.id),
            scope=requested.scope,
            begun=begun,
            now=now,
        ),
        authenticated_session_id=authenticated,
        consented_session_id=pending.consented_session_id if pending else None,
        is_denied=pending is not None and pending.denied_at is not None,
        now=now,
    )


def next_step(moment: Moment) -> Step | None:
    """The page that must come first, or None when the code may be issued."""
    for check in _CHECKS:
        step = check(moment)
        if step is not None:
            return step
    return None


def _signed_in(moment: Moment) -> Step | None:
    if moment.session is None:
        return Step("login", "not_signed_in", LoginRequiredError)
    return None


def _prompt_login(moment: Moment) -> Step | None:
    if "login" in moment.requested.prompt and not _just_authenticated(moment):
        return Step("login", "prompt_login", LoginRequiredError)
    return None


def _prompt_select_account(moment: Moment) -> Step | None:
    if "select_account" in moment.requested.prompt and not _just_authenticated(moment):
        return Step("login", "select_account", AccountSelectionRequiredError)
    return None


def _young_enough(moment: Moment) -> Step | None:
    if assurance.standing(moment.proofs, since=moment.demand.since) is None:
        return Step("login", "max_age", LoginRequiredError)
    return None


def _sure_enough(moment: Moment) -> Step | None:
    if not assurance.meets(moment.proofs, moment.demand):
        return Step("step-up", "acr", InteractionRequiredError)
    return None


def _same_person(moment: Moment) -> Step | None:
    hinted, session = moment.requested.hinted_sub, moment.session
    if hinted is None or session is None or session.user_id == hinted:
        return None
    # Asked once to sign in as the hinted person; whoever still is somebody else is told the app.
    page: Page = "none" if _just_authenticated(moment) else "login"
    return Step(page, "other_person", LoginRequiredError)


def _consented(moment: Moment) -> Step | None:
    step = _consent_missing(moment)
    if step is not None and not assurance.meets(moment.proofs, Demand(assurance.PROVED)):
        # Whoever sits at a remembered browser gives nothing away before they prove who they are.
        return replace(step, page="step-up")
    return step


def _consent_missing(moment: Moment) -> Step | None:
    requested, session = moment.requested, moment.session
    # An answer to this very request spares the question, not the consent: it may be revoked since.
    answered = session is not None and moment.consented_session_id == session.id
    if "consent" in requested.prompt and not answered:
        return Step("consent", "prompt_consent", ConsentRequiredError)
    client = requested.client
    if client.application_type == "native" and not answered:
        # Anybody can pose as a native app (RFC 8252 section 8.6): a person says yes every time.
        return Step("consent", "native_app", ConsentRequiredError)
    if client.first_party and not client.is_public:
        return None
    needed = {*requested.scope.split(), *claims.behind(requested.claims)}
    if moment.consented_scope is None or not needed <= set(moment.consented_scope.split()):
        return Step("consent", "not_consented", ConsentRequiredError)
    return None


_CHECKS: tuple[Callable[[Moment], Step | None], ...] = (
    _signed_in,
    _prompt_login,
    _prompt_select_account,
    _young_enough,
    _same_person,
    _sure_enough,
    _consented,
)


def _just_authenticated(moment: Moment) -> bool:
    """Whether this session was (re-)authenticated for this very request: a recorded fact."""
    return moment.session is not None and moment.authenticated_session_id == moment.session.id


@dataclass(frozen=True, slots=True)
class Issued:
    """A code for the client, and what must be written for it to be worth something."""

    location: str
    writes: list[Write]


def issue(moment: Moment, *, permission_scopes: frozenset[str], provider: Provider) -> Issued:
    """Issues an authorization code. `permission_scopes` are those that only roles give."""
    requested, session, user, now = moment.requested, moment.session, moment.user, moment.now
    standing = assurance.standing(moment.proofs, since=moment.demand.since)
    if session is None or user is None or standing is None:
        raise RuntimeError("a code needs a session")
    scope, permission_scope = _granted(requested.scope, user, permission_scopes)
    if not scope:
        raise denied(requested.redirect_uri)
    code = f"ac_{ids.new_secret()}"
    authorization_id = ids.new("azn")
    writes = [
        authorizations.issue(
            {
                "id": authorization_id,
                "session_id": session.id,
                "user_id": user.id,
                "client_id": requested.client.id,
                "scope": scope,
                "permission_scope": permission_scope,
                "claims": as_json(requested.claims) if requested.claims else None,
                "nonce": requested.nonce,
                "redirect_uri": requested.redirect_uri,
                "auth_time": standing.auth_time,
                "acr": standing.acr,
                "amr": as_json(standing.amr),
                "offline": int("offline_access" in scope.split()),
                "created_at": now,
                "last_used_at": now,
                "code_hash": ids.digest(code),
                "code_expires_at": now + provider.settings.tokens.code_lifetime * SECOND,
                "code_challenge": requested.code_challenge,
                "refresh_generation": 0,
            }
        ),
        *hot.touching(session, now),
        hot_write(
            AuthorizationIssued(
                actor="user",
                actor_id=user.id,
                user_id=user.id,
                session_id=session.id,
                client_id=requested.client.id,
                authorization_id=authorization_id,
                scope=scope,
            ),
            now,
        ),
    ]
    if moment.consented_scope is not None:
        # After the authorization: person before consent, as where one is given (no deadlock).
        writes.append(consent.holding(user.id, requested.client.id, moment.consented_scope))
    answer = [("code", code)]
    if requested.state is not None:
        answer.append(("state", requested.state))
    answer.append(("iss", provider.settings.issuer))
    return Issued(add_to_query(requested.redirect_uri, answer), writes)


def _granted(scope: str, user: UserFacts, permission_scopes: frozenset[str]) -> tuple[str, str]:
    """What of `scope` this person may give, and which part of it rests on their roles."""
    held = set(user.permissions)
    given = [one for one in scope.split() if one not in permission_scopes or one in held]
    resting = [one for one in given if one in permission_scopes]
    return " ".join(given), " ".join(resting)


def is_governed(scope: str) -> bool:
    """Whether `scope` asks for anything that a role may govern, so that roles must be read."""
    return not set(scope.split()) <= set(SCOPES)


def error_location(error: OAuth2Error, *, state: str | None, issuer: str) -> str:
    """Where an error of a proven request goes: code, sentence, state, and `iss` (RFC 9207)."""
    answer = [("error", error.error or "server_error")]
    if error.description:
        answer.append(("error_description", error.description))
    if state is not None:
        answer.append(("state", state))
    answer.append(("iss", issuer))
    return add_to_query(error.redirect_uri, answer)


def denied(redirect_uri: str) -> OAuth2Error:
    """`access_denied`, for a person who said no."""
    return AccessDeniedError("The request was refused.", redirect_uri=redirect_uri)


def refused(moment: Moment) -> OAuth2Error:
    """The error for a person who went no further (RFC 9470 section 5 for what was not proved)."""
    requested = moment.requested
    if moment.session is None or assurance.meets(moment.proofs, moment.demand):
        return denied(requested.redirect_uri)
    error = demands.unmet("The person did not prove what was demanded.")
    error.redirect_uri = requested.redirect_uri
    return error


def add_to_query(uri: str, values: list[tuple[str, str]]) -> str:
    """Adds parameters to a URI's query and leaves every other byte as it is."""
    if uri.endswith(("?", "&")):
        return uri + urlencode(values)
    return f"{uri}{'&' if '?' in uri else '?'}{urlencode(values)}"
