"""How long a refresh token and what it stands for will last, as token responses say it.

So an app learns its session's deadlines with every token, without asking: `authorization_expires_in`
is the absolute one, `refresh_token_timeout` the idle one (a refresh is activity). Where a grant
outlives its session (`offline_access`), both are the end of its refresh family.
Specs: draft-ietf-oauth-refresh-token-expiration-03.
"""

from idp.clock import SECOND, Instant
from idp.oauth.facts import AuthorizationFacts, SessionFacts

TYPES_SUPPORTED = ("authorization", "token_timeout")


def told(
    authorization: AuthorizationFacts,
    session: SessionFacts,
    *,
    family_expires_at: Instant,
    idle_at: Instant,
    now: Instant,
) -> dict[str, int]:
    """The two members, in seconds. `idle_at` is the session's once this answer was given."""
    if authorization.offline:
        idle_at = ends = family_expires_at
    else:
        ends = min(session.expires_at, family_expires_at)
    return {
        "refresh_token_timeout": (min(idle_at, ends) - now) // SECOND,
        "authorization_expires_in": (ends - now) // SECOND,
    }
