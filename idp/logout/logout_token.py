"""The logout token: what an app is told when a session has ended.

Specs: OpenID Connect Back-Channel Logout 1.0 sections 2.4 and 2.6, RFC 8417, RFC 8725 (`typ`).

One token ends one session: it always carries `sid`, and `sub` beside it. An end of many sessions
(sign out everywhere, a disabled user) is told as one token for each of them, never as one without
`sid`: such a token means "all sessions of this person at your app", and it would also end one that
began after the decision.
"""

from typing import Any

TYP = "logout+jwt"
EVENT = "http://schemas.openid.net/event/backchannel-logout"
# Section 2.4: "preferably at most two minutes in the future".
LIFETIME_SECONDS = 120


def claims(
    *, issuer: str, client_id: str, subject: str, session_id: str, token_id: str, now: int
) -> dict[str, Any]:
    """The claims of section 2.4; `now` in seconds.

    `token_id` (`jti`) is the same at every attempt, so that an app which was told twice can know
    it; `iat` and `exp` are those of the attempt, because an app may refuse an old token. There is
    no `nonce`: the section forbids it, so that nothing can take a logout token for an ID token.
    """
    return {
        "iss": issuer,
        "aud": client_id,
        "iat": now,
        "exp": now + LIFETIME_SECONDS,
        "jti": token_id,
        "sub": subject,
        "sid": session_id,
        "events": {EVENT: {}},
    }
