"""Every way in which somebody ends what an app was given."""

from typing import Literal, get_args

from tests.harness.deployment import Grant

End = Literal["revoke", "session_by_api", "session_by_page", "session_by_app"]
ENDS: tuple[End, ...] = get_args(End)


def ending(grant: Grant, end: End) -> bytes:
    """The request that ends the grant, or its session, in this way."""
    app, browser = grant.app, grant.browser
    if end == "revoke":
        return app.revoking(grant.refresh_token)
    if end == "session_by_app":
        return browser.getting(f"/logout?id_token_hint={grant.id_token}")
    form = browser.session_form()
    assert form is not None
    fields, listed = form
    if end == "session_by_api":
        return app.asking("DELETE", f"/api/v1/users/sessions/{listed[0]}", grant.access_token)
    return browser.posting(f"/account/sessions/{listed[0]}/end", fields)
