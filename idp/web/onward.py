"""Leading a browser on after a form, to wherever the next redirect goes.

Chromium applies the page's `form-action` to every redirect that answers a form, also to those an app
makes later with its own people; no policy of ours can name them. So a form that a browser sent is
answered with a page that leads on by itself, which is a navigation of its own.
"""

from starlette.responses import RedirectResponse, Response

from idp.web.http import PageRequest, WebContext


def lead_on(context: WebContext, request: PageRequest, address: str, *, app: str) -> Response:
    """Sends the browser to `address`, which we have checked; `app` is whose it is."""
    if request.method != "POST" or request.headers.get("sec-fetch-mode") != "navigate":
        return RedirectResponse(address, 303)
    response = context.renderer.page(
        "onward.html", language=request.language, app=app, address=address
    )
    response.headers["Refresh"] = f"0; url={address}"
    return response
