"""Every page and API of the browser side: the one list of what has routes."""

from starlette.routing import Route

from idp.web import (
    account,
    api,
    apps,
    authenticator_app,
    choose_session,
    consent,
    dev_mail,
    device,
    email,
    end_session,
    handoff,
    invitation,
    login,
    move,
    not_me,
    own_session,
    passkeys,
    password,
    recover,
    recovery_codes,
    register,
    remembered,
    scanned,
    second_factor,
    security,
    session_stream,
    setup,
    signed_out,
    step_up,
    verify_email,
    well_known,
)
from idp.web.http import WebContext

_MODULES = (
    login,
    second_factor,
    choose_session,
    step_up,
    consent,
    device,
    handoff,
    scanned,
    move,
    account,
    own_session,
    session_stream,
    apps,
    security,
    remembered,
    passkeys,
    authenticator_app,
    recovery_codes,
    not_me,
    password,
    email,
    recover,
    verify_email,
    invitation,
    setup,
    api,
    end_session,
    signed_out,
    dev_mail,
    well_known,
    register,
)


def routes(context: WebContext) -> list[Route]:
    """The routes of all of them."""
    return [one for module in _MODULES for one in module.routes(context)]
