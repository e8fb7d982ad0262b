"""The authorization endpoint: decide the next step, issue the code.

`/authorize` is a dispatcher over stored state. A request that needs a person is pushed to ourselves
(`pushed`), the pages carry its reference and always come back here, and here everything is decided
again. `next_step` is an ordered list of named checks; the first that fails names the page, the
reason, and the `prompt=none` error.

Specs: RFC 6749 section 4.1, OpenID Connect Core section 3.1.2, RFC 9207, RFC 9700 section 2.1.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import urlencode

from authlib.oauth2.rfc6749 import AccessDeniedError, OAuth2Error
from authlib.oidc.core.errors import (
    AccountSelectionRequiredError,
    ConsentRequiredError,
    InteractionRequiredError,
    LoginRequiredError,
)

from idp import ids
from idp.clock import SECOND, Instant
from idp.events.catalogue import AuthorizationIssued
from idp.events.log import hot_write
from idp.oauth import authorizations, claims, consent, demands
from idp.oauth.authorization_request import Requested
from idp.oauth.discovery import SCOPES
from idp.oauth.facts import AuthorizeFacts, SessionFacts, UserFacts
from idp.oauth.provider import Provider
from idp.oauth.server import as_json
from idp.policy import assurance
from idp.policy.assurance import Demand, Proof
from idp.policy.selection import Book, Subject
from idp.policy.timeouts import ran_out
from idp.sessions import hot, movement
from idp.sessions.device import Visit
from idp.sessions.movement import Fate, Found
from idp.sessions.subject import subject
from idp.storage.database import Write
from idp.users import roles
from idp.users.model import ACTIVE

# "none": no page can help, the error goes to the app. "barred": a page that leads nowhere.
Page = Literal["login", "step-up", "consent", "none", "barred"]


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
    # What became of the session by being used from here (`idp.sessions.movement`).
    fate: Fate
    now: Instant


@dataclass(frozen=True, slots=True)
class Step:
    """A page that must come first, why, and what `prompt=none` answers instead."""

    page: Page
    reason: str
    error: type[OAuth2Error]


def moment(
    requested: Requested, facts: AuthorizeFacts, book: Book, found: Found | None, now: Instant
) -> Moment:
    """The facts as `next_step` sees them; `found` is what `judged` gave for them.

    A session that ran out, or whose person may not sign in, counts as none.
    """
    session, user = facts.session, facts.user
    if found is None or found.fate == "ended":
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
            book=book,
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
        fate=found.fate if found is not None else "as_before",
        now=now,
    )


def judged(
    requested: Requested, facts: AuthorizeFacts, visit: Visit, book: Book, now: Instant
) -> Found | None:
    """What becomes of the browser's session by being used for this request; None: there is none."""
    session, user = facts.session, facts.user
    if session is None or user is None or user.status != ACTIVE:
        return None
    if ran_out(idle_at=session.idle_at, expires_at=session.expires_at, now=now) is not None:
        return None
    client_id = requested.client.id
    return movement.judge(session, tuple(user.roles), visit, book, now, client_id=client_id)


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


def _allowed_from_here(moment: Moment) -> Step | None:
    if moment.fate == "refused":
        return Step("barred", "network_not_allowed", AccessDeniedError)
    return None


def _unchallenged(moment: Moment) -> Step | None:
    if moment.fate == "challenged":
        return Step("step-up", "challenged", LoginRequiredError)
    return None


def _young_enough(moment: Moment) -> Step | None:
    if assurance.wants_whole_sign_in(moment.proofs, moment.demand):
        return Step("login", "max_age", LoginRequiredError)
    return None


def _sure_enough(moment: Moment) -> Step | None:
    if not assurance.meets(moment.proofs, moment.demand):
        return Step("step-up", "acr", InteractionRequiredError)
    return None


def _same_person(moment: Moment) -> Step | None:
    people, session = moment.requested.people, moment.session
    if people is None or session is None or session.user_id in people:
        return None
    # Asked once to sign in as one of them; whoever still is somebody else is told the app.
    if _just_authenticated(moment):
        return Step("none", "other_person", LoginRequiredError)
    # Without a page the app hears first of what is missing for anybody here: who it is may be asked
    # only by an app that they allowed something (a `sub` is the same for all apps).
    missing = _sure_enough(moment) or _consented(moment)
    return Step("login", "other_person", missing.error if missing else LoginRequiredError)


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
    _allowed_from_here,
    _prompt_login,
    _prompt_select_account,
    _unchallenged,
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
    asked = requested.scope if _may_be_outlived(moment, session) else _online(requested.scope)
    scope, permission_scope = roles.given(asked, user.permissions, permission_scopes)
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
        # What asks without a person there is no activity of theirs (ASVS 7.3.1).
        *(hot.touching(session, now) if "none" not in requested.prompt else ()),
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


def _may_be_outlived(moment: Moment, session: SessionFacts) -> bool:
    """Whether apps may keep their access when the session runs out (`offline_access`).

    Not of one that is bounded on purpose: a temporary one, one that another device let in, one that
    is only remembered. The device grant is the exception: its person allowed that very app.
    """
    proved = Demand(assurance.PROVED, moment.demand.since, frozenset({assurance.PAIRING}))
    return not session.temporary and assurance.meets(moment.proofs, proved)


def _online(scope: str) -> str:
    return " ".join(one for one in scope.split() if one != "offline_access")


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
