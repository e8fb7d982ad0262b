"""What holds for every answer of the protocol, whatever was asked."""

import re
from urllib.parse import urlsplit

from tests.attacks.wire import Answer
from tests.harness.provider import ISSUER

# RFC 6749 section 5.2 and appendix A.8: the characters of error_description.
DESCRIPTION = re.compile(r"[\x20-\x21\x23-\x5B\x5D-\x7E]+")
# RFC 6749 sections 4.1.2.1 and 5.2, OpenID Connect Core section 3.1.2.6, RFC 6750 section 3.1,
# and section 4.1.2.1 of RFC 6749 again for what only a server that cannot now may say.
AUTHORIZATION_ERRORS = {
    "invalid_request", "unauthorized_client", "access_denied", "unsupported_response_type",
    "invalid_scope", "login_required", "consent_required", "account_selection_required",
    "interaction_required", "request_not_supported", "request_uri_not_supported",
    "registration_not_supported", "unmet_authentication_requirements",
}  # fmt: skip
TOKEN_ERRORS = {
    "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client",
    "unsupported_grant_type", "invalid_scope",
    # OpenID Connect Core section 3.1.2.6, for a person who must prove who they are first.
    "interaction_required",
}  # fmt: skip
BEARER_ERRORS = {"invalid_request", "invalid_token", "insufficient_scope"}
LOCAL = {"/login", "/consent"}


def check_authorization(answer: Answer, redirect_uri: str, *, state: str | None = None) -> None:
    """Of `/authorize`: a page, one of our own pages, or the app's address; never anywhere else."""
    assert answer.status in (303, 400, 405), answer
    check_headers(answer)
    if answer.status != 303:
        assert answer.location is None
        return
    location = answer.location or ""
    assert answer.header("cache-control") == "no-store"
    assert not any(character in location for character in "\r\n\t ")
    if location.startswith("/"):
        assert urlsplit(location).path in LOCAL
        assert not location.startswith(("//", "/\\"))
        return
    assert location.startswith((f"{redirect_uri}?", f"{redirect_uri}&")), location
    assert "#" not in location
    found = answer.redirected
    assert found["iss"] == ISSUER
    assert ("code" in found) != ("error" in found)
    assert set(found) <= {"code", "state", "iss", "error", "error_description"}
    if "error" in found:
        assert found["error"] in AUTHORIZATION_ERRORS
        assert DESCRIPTION.fullmatch(found.get("error_description", "x"))
    if state is not None:
        assert found["state"] == state


def check_token_side(answer: Answer) -> None:
    """Of the JSON endpoints: an answer or an error, never cached, never a server's failure."""
    assert answer.status in (200, 400, 401, 403, 405, 413), answer
    check_headers(answer)
    assert answer.location is None
    assert answer.header("content-type") == "application/json"
    assert answer.header("cache-control") == "no-store"
    assert answer.header("set-cookie") is None
    body = answer.json
    if answer.status == 200:
        assert "error" not in body
        return
    assert body["error"] in TOKEN_ERRORS | BEARER_ERRORS
    assert set(body) <= {"error", "error_description"}
    assert DESCRIPTION.fullmatch(body.get("error_description", "x"))
    if answer.status == 401:
        # RFC 6750 section 3 and RFC 7617 section 2: a challenge has a parameter, of Basic this one.
        assert re.match('(Bearer|Basic) realm="', answer.header("www-authenticate") or "")


def check_headers(answer: Answer) -> None:
    """Of every answer: nobody guesses its kind, frames it, or is told where somebody came from."""
    assert answer.header("x-content-type-options") == "nosniff"
    assert answer.header("referrer-policy") == "no-referrer"
    assert "frame-ancestors 'none'" in (answer.header("content-security-policy") or "")
