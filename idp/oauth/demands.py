"""What an authorization request demands of its person's proofs.

Owns how the request's own words (`acr_values`, `claims`, `max_age`, `prompt`), its client and the
rules become one `Demand`. Whether proofs meet it is `idp.policy.assurance`.
Specs: RFC 9470, OpenID Connect Core sections 3.1.2.1 and 5.5.1.1.
"""

import re
from collections.abc import Collection

from authlib.oauth2.rfc6749 import OAuth2Error

from idp.clock import SECOND, Instant
from idp.oauth import claims
from idp.oauth.pushed import Pending
from idp.policy import assurance, reauthentication
from idp.policy.assurance import Demand
from idp.policy.selection import Book, Subject
from idp.sessions.model import Session
from idp.sessions.subject import subject
from idp.users.model import User

_ASKING_AGAIN = frozenset({"login", "select_account"})


def acr(values: dict[str, str]) -> str | None:
    """The least level that meets what the request asks for (OpenID Connect Core section 5.5.1.1).

    Any value of `acr_values` will do, and values that are not ours are passed over: they are a wish.
    An essential `acr` claim is not: one that no sign-in here can meet is refused before anybody
    types a password.
    """
    wished = assurance.bar(values.get("acr_values", "").split())
    essential = claims.essential_acr(values.get("claims", "{}"))
    if essential is None:
        return wished
    demanded = assurance.bar(essential)
    if demanded is None:
        raise unmet("None of the demanded acr values can be met.")
    return assurance.highest([demanded, wished or demanded])


def unmet(sentence: str) -> OAuth2Error:
    """`unmet_authentication_requirements` (OpenID Connect Core Error Code 1.0)."""
    return OAuth2Error(sentence, error="unmet_authentication_requirements")


def demand(
    *,
    acr: str | None,
    client_acr: str | None,
    prompt: Collection[str],
    max_age: int | None,
    book: Book,
    of: Subject,
    scope: str,
    begun: Instant | None,
    now: Instant,
) -> Demand:
    """What must have been proved for a request: by its own word, its client's, and the rules'.

    `begun` is when the request came, if this session was (re-)authenticated for it: whoever needed
    longer for that than `max_age` is not asked again. An app that asks when somebody was here asks for
    a proof of it, which a remembered browser is not.
    """
    ruled = assurance.least(book, of, scopes=scope.split())
    levels = [one for one in (acr, client_acr, ruled) if one]
    since = 0
    if not _ASKING_AGAIN.isdisjoint(prompt):
        levels.append(assurance.PROVED)
        since = now if begun is None else begun
    elif max_age is not None:
        levels.append(assurance.PROVED)
        oldest = now - max_age * SECOND
        since = oldest if begun is None else min(oldest, begun)
    due = reauthentication.demand(book, of, now)
    if due is not None:
        levels.append(due.acr)
        since = max(since, due.since if begun is None else min(due.since, begun))
    return Demand(assurance.highest(levels), since)


def of_pending(pending: Pending, session: Session, user: User, book: Book, now: Instant) -> Demand:
    """What a request that was pushed to ourselves demands of this session."""
    is_for_it = pending.authenticated_session_id == session.id
    return _of(
        pending,
        subject(session, user.roles, pending.client.id),
        book,
        begun=pending.created_at if is_for_it else None,
        now=now,
    )


def of_newcomer(pending: Pending, of: Subject, book: Book, now: Instant) -> Demand:
    """What such a request demands of somebody who has no session yet."""
    return _of(pending, of, book, begun=None, now=now)


def _of(
    pending: Pending, of: Subject, book: Book, *, begun: Instant | None, now: Instant
) -> Demand:
    values = pending.parameters
    max_age = values.get("max_age", "")
    return demand(
        acr=acr(values),
        client_acr=pending.client.minimum_acr,
        prompt=values.get("prompt", "").split(),
        max_age=int(max_age) if re.fullmatch(r"[0-9]{1,9}", max_age) else None,
        book=book,
        of=of,
        scope=values.get("scope", ""),
        begun=begun,
        now=now,
    )
