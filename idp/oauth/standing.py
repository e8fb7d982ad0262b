"""The one check of whether an authorization still stands (invariant 6).

Every grant, introspection, userinfo and our own API ask here, at every use: the client is enabled,
the person may sign in, the session lives, the grant was not ended, and client and roles still allow
what was granted. A new pathway that forgets a condition cannot exist, because it has no other way
to turn facts into a yes.
"""

from authlib.oauth2.rfc6749 import OAuth2Error
from authlib.oidc.core.errors import InteractionRequiredError

from idp.clock import Instant
from idp.oauth.facts import TokenFacts
from idp.policy import reauthentication
from idp.policy.selection import Book
from idp.sessions import endings
from idp.sessions.subject import subject
from idp.users.model import ACTIVE


def refusal(facts: TokenFacts, now: Instant) -> str | None:
    """Why the authorization in `facts` gives nothing any more (for logs); None when it stands."""
    authorization, session, user = facts.authorization, facts.session, facts.user
    if authorization is None or session is None or user is None:
        return "unknown"
    if authorization.ended_at is not None:
        return "authorization_ended"
    if facts.owner_disabled:
        return "client_disabled"
    if user.status != ACTIVE:
        return "user_not_active"
    over = endings.reason_of(session, now)
    if over is not None and (endings.takes(over, "offline") or not authorization.offline):
        return "session_ended"
    if not set(authorization.scope.split()) <= set(facts.owner_scope.split()):
        return "scope_removed_from_client"
    if authorization.permission_scope and not (
        set(authorization.permission_scope.split()) <= set(user.permissions)
    ):
        return "permission_removed"
    return None


def withheld(facts: TokenFacts, book: Book, now: Instant) -> OAuth2Error | None:
    """Why nothing new is issued although the grant stands; None when it is.

    Its person must prove who they are first: nothing ends, and what was refused works again then. So
    an app that keeps its refresh token loses nothing; it sends its person to the authorization
    endpoint, as OpenID Connect says of this error.
    """
    session, user = facts.session, facts.user
    if session is None or user is None or facts.authorization is None:
        return None
    if session.challenged_at is None:
        of = subject(session, user.roles, facts.authorization.client_id)
        if not reauthentication.is_overdue(book, of, session, now):
            return None
    return InteractionRequiredError("The person must prove who they are first.")


def in_words(facts: TokenFacts, now: Instant) -> str:
    """What the client of a grant that `refusal` refused is told.

    Only that its session ended, and why: everything else would tell it of other people's decisions.
    """
    if refusal(facts, now) != "session_ended" or facts.session is None:
        return "The authorization is no longer valid."
    return endings.told_to_app(endings.reason_of(facts.session, now) or "")
