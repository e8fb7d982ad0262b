"""A web app that signs people in through an OpenID provider.

What it shows, each in a few lines: the authorization code flow with PKCE, state and nonce; its own
server-side session; refreshing the access token once for many parallel requests; calling an API;
asking the person to prove more when the API wants it, and going on with the very request; signing
out here and at the provider; and being told by the provider that a session has ended.

Run it with `uvicorn --factory clients.web_app.app:create_app`; the settings are in
`clients/README.md`.
"""

import json
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import httpx2
from authlib.integrations.starlette_client import OAuth, OAuthError
from joserfc.errors import JoseError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

from .api import Api, SignedOut
from .config import Config
from .logout_token import LogoutTokens, NotALogoutToken
from .payments import Payment, asks_for_more
from .sessions import LASTING, Session, Sessions, Trips

HERE = Path(__file__).parent
SCOPE = "openid profile email payments"
HEARTBEAT = 15
TRY_AGAIN = "That sign-in could not be finished. Please try again."
CLIENT = {"token_endpoint_auth_method": "client_secret_basic", "leeway": 0, "timeout": 10}
OWN_PAGE = "Please use the button on this page."
UNREACHABLE = "The provider cannot be reached."


class WebApp:
    """The routes of the app, and what they share."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.callback_uri = f"{config.url}/callback"
        self.sessions = Sessions()
        self.trips = Trips()
        self.provider = OAuth().register(
            "provider",
            client_id=config.client_id,
            client_secret=config.client_secret,
            server_metadata_url=f"{config.issuer}/.well-known/openid-configuration",
            client_kwargs={"scope": SCOPE, "code_challenge_method": "S256", **CLIENT},
        )
        self.logout_tokens = LogoutTokens(
            issuer=config.issuer,
            client_id=config.client_id,
            fetch_keys=self.provider.fetch_jwk_set,
        )
        self.api = Api(self.provider, config.api_url)
        # The provider's own API, for the session itself.
        self.own = Api(self.provider, config.issuer)
        self.templates = Jinja2Templates(HERE / "templates")

    async def home(self, request: Request) -> Response:
        return self._page(request)

    async def call_api(self, request: Request) -> Response:
        """Calls the protected API for the person and shows its answer."""
        session = self._session(request)
        if session is None:
            return RedirectResponse("/", 303)
        try:
            answer = await self.api.ask(session, "GET", "/whoami")
            shown = json.dumps(answer.json(), indent=2, ensure_ascii=False)
        except SignedOut:
            self.sessions.end(session)
            return self._page(request, notice="You were signed out.", status=401)
        except (httpx2.HTTPError, ValueError):
            return self._page(request, error="The API cannot be reached.", status=502)
        return self._page(request, api_status=answer.status_code, api_answer=shown)

    # --- a request for which the API may ask for more ------------------------------------------

    async def pay(self, request: Request) -> Response:
        """Takes the form "Make a payment"; what became of it is shown by `payment`."""
        if not _is_of_own_page(request):
            return self._page(request, error=OWN_PAGE, status=403)
        session = self._session(request)
        if session is None:
            return RedirectResponse("/", 303)
        async with request.form(max_files=0, max_fields=4) as form:
            payment = Payment(str(form.get("amount", "")), str(form.get("note", "")))
        session.payments.add(payment)
        return await self._send(request, session, payment)

    async def payment(self, request: Request) -> Response:
        """One payment: its answer, or why there is none, with the form filled in still."""
        session = self._session(request)
        found = session.payments.find(request.path_params["id"]) if session else None
        if found is None:
            return RedirectResponse("/", 303)
        return self._page(request, payment=found, error=found.error)

    async def _send(self, request: Request, session: Session, payment: Payment) -> Response:
        """Sends a payment to the API; on its challenge, the person to the provider, once."""
        shown = RedirectResponse(f"/payments/{payment.id}", 303)
        try:
            answer = await self.api.ask(session, "POST", "/payments", payment.body())
        except SignedOut:
            self.sessions.end(session)
            return RedirectResponse("/", 303)
        except httpx2.HTTPError:
            payment.error = "The API cannot be reached."
            return shown
        more = asks_for_more(answer)
        if more is None or payment.was_challenged:
            payment.answered(answer)
            return shown
        try:
            return await self._away(
                request,
                self.provider.authorize_redirect,
                redirect_uri=self.callback_uri,
                state=payment.wait(),
                # Nobody else is to prove it for them.
                id_token_hint=session.id_token,
                **more,
            )
        except httpx2.HTTPError:
            payment.error = UNREACHABLE
            return shown

    # --- signing in ----------------------------------------------------------------------------

    async def login(self, request: Request) -> Response:
        # A session that is near its latest end gives way to a new one only where somebody signs in.
        again = {"prompt": "login"} if "again" in request.query_params else {}
        try:
            return await self._away(
                request, self.provider.authorize_redirect, redirect_uri=self.callback_uri, **again
            )
        except httpx2.HTTPError:
            return self._page(request, error=UNREACHABLE, status=502)

    async def callback(self, request: Request) -> Response:
        _, request.scope["session"] = self._trip(request)
        # Another provider's answer must not be taken for ours (RFC 9207 section 2.4).
        if request.query_params.get("iss", self.config.issuer) != self.config.issuer:
            return self._page(request, error=TRY_AGAIN, status=400)
        before = self._session(request)
        waiting = before and before.payments.take_waiting(request.query_params.get("state"))
        try:
            tokens = await self.provider.authorize_access_token(request)
            person = await self.provider.userinfo(token=tokens)
        except (OAuthError, JoseError) as error:
            if waiting:
                waiting.refused(error.error)
                return RedirectResponse(f"/payments/{waiting.id}", 303)
            if error.error == "access_denied":
                return self._page(request, error="You did not allow the sign-in.", status=403)
            return self._page(request, error=TRY_AGAIN, status=400)
        except httpx2.HTTPError:
            return self._page(request, error=UNREACHABLE, status=502, payment=waiting)
        identity = tokens["userinfo"]  # the claims of the ID token, checked by authlib
        if person["sub"] != identity["sub"]:  # OpenID Connect Core section 5.3.2
            return self._page(request, error=TRY_AGAIN, status=400)
        session = Session(
            sub=identity["sub"],
            sid=identity.get("sid"),
            name=person.get("name") or person.get("preferred_username") or identity["sub"],
            tokens=tokens,
            id_token=tokens["id_token"],
            session_expiry=identity.get("session_expiry", math.inf),
        )
        if not self.sessions.start(session, instead_of=before):
            return self._page(request, error=TRY_AGAIN, status=400)
        response: Response = RedirectResponse("/", 303)
        # Of the person who asked for it, and of nobody who signed in in their place.
        if waiting and session.payments.find(waiting.id):
            response = await self._send(request, session, waiting)
        self._set_cookie(response, self.config.cookie, session.id, LASTING)
        return response

    # --- signing out ---------------------------------------------------------------------------

    async def logout(self, request: Request) -> Response:
        """Ends the session here, then at the provider (OpenID Connect RP-Initiated Logout 1.0)."""
        if not _is_of_own_page(request):
            return self._page(request, error=OWN_PAGE, status=403)
        session = self._session(request)
        if session is None:
            return RedirectResponse("/", 303)
        self.sessions.end(session)
        try:
            response = await self._away(
                request,
                self.provider.logout_redirect,
                post_logout_redirect_uri=f"{self.config.url}/signed-out",
                id_token_hint=session.id_token,
                client_id=self.config.client_id,
            )
        except httpx2.HTTPError:
            return self._page(request, error="You are signed out here only.", status=502)
        response.delete_cookie(self.config.cookie, path="/")
        return response

    async def signed_out(self, request: Request) -> Response:
        """Where the provider sends the browser after a logout that began here."""
        _, request.scope["session"] = self._trip(request)
        try:
            await self.provider.validate_logout_response(request)
        except OAuthError:
            return RedirectResponse("/", 303)
        return self._page(request, notice="You have signed out.")

    async def backchannel_logout(self, request: Request) -> Response:
        """The provider says that a session has ended (Back-Channel Logout 1.0 section 2.5)."""
        headers = {"Cache-Control": "no-store"}
        try:
            async with request.form(max_files=0, max_fields=4) as form:
                logout = await self.logout_tokens.check(form.get("logout_token"))
        except NotALogoutToken as error:
            answer = {"error": "invalid_request", "error_description": str(error)}
            return JSONResponse(answer, 400, headers)
        except httpx2.HTTPError:
            # The keys could not be fetched; the provider will try again.
            return JSONResponse({"error": "temporarily_unavailable"}, 503, headers)
        if not logout.is_repeated:
            self.sessions.end_by(sid=logout.sid, sub=logout.sub)
        return Response(status_code=200, headers=headers)

    async def account(self, _: Request) -> Response:
        """The person's sessions and factors are the provider's, and so are their pages."""
        return RedirectResponse(f"{self.config.issuer}/account", 303)

    # --- what open pages ask -------------------------------------------------------------------

    async def session_status(self, request: Request) -> Response:
        is_signed_in = self._session(request) is not None
        return JSONResponse({"signed_in": is_signed_in}, headers={"Cache-Control": "no-store"})

    async def stay(self, request: Request) -> Response:
        """ "Stay signed in": tells the provider that its session is in use, for all apps in it."""
        if not _is_of_own_page(request):
            return self._page(request, error=OWN_PAGE, status=403)
        session = self._session(request)
        if session is None:
            return RedirectResponse("/", 303)
        try:
            answer = await self.own.ask(session, "POST", "/api/v1/users/sessions/current/extend")
        except SignedOut:
            self.sessions.end(session)
            return RedirectResponse("/", 303)
        except httpx2.HTTPError:
            return self._page(request, error=UNREACHABLE, status=502)
        if answer.status_code == 200:
            # By the provider's clock: ours may differ.
            now, end = (
                datetime.fromisoformat(answer.json()[name]) for name in ("now", "idle_expires_at")
            )
            session.rests_until = time.time() + (end - now).total_seconds()
        return RedirectResponse("/", 303)

    async def events(self, request: Request) -> Response:
        """Server-sent events: one, `signed-out`, when this browser's session has ended."""
        session = self._session(request)

        async def stream() -> AsyncIterator[str]:
            while session is not None and not session.ended.is_set():
                yield ": still signed in\n\n"
                with anyio.move_on_after(HEARTBEAT):
                    await session.ended.wait()
            yield "event: signed-out\ndata: now\n\n"

        return StreamingResponse(
            stream(), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )

    # --- what the routes share -----------------------------------------------------------------

    def _session(self, request: Request) -> Session | None:
        return self.sessions.find(request.cookies.get(self.config.cookie))

    def _trip(self, request: Request) -> tuple[str, dict[str, Any]]:
        return self.trips.of(request.cookies.get(f"{self.config.cookie}_trip"))

    async def _away(
        self, request: Request, begin: Callable[..., Awaitable[Response]], **parameters: str
    ) -> Response:
        """Sends the browser to the provider, and remembers what must fit when it comes back."""
        trip_id, trip = self._trip(request)
        request.scope["session"] = begun = dict[str, Any]()
        redirect = await begin(request, **parameters)
        # Each tab has a trip of its own: one does not overwrite another's state.
        trip.update(begun)
        # 303: the browser must follow with a GET, not send a form on.
        response = RedirectResponse(redirect.headers["location"], 303)
        self._set_cookie(response, f"{self.config.cookie}_trip", trip_id, Trips.LASTING)
        return response

    def _set_cookie(self, response: Response, name: str, value: str, lasting: int) -> None:
        response.set_cookie(
            name,
            value,
            max_age=lasting,
            path="/",
            httponly=True,
            samesite="lax",
            secure=self.config.is_secure,
        )

    def _page(self, request: Request, *, status: int = 200, **shown: Any) -> Response:
        session = self._session(request)
        known: dict[str, Any] = {"app": self.config, "session": session}
        if session is not None:
            known["since"] = datetime.fromtimestamp(session.signed_in_at, UTC)
            ends_at = min(session.rests_until, session.expires_at)
            known["seconds_left"] = int(ends_at - time.time())
            # What is near its latest end cannot be put off.
            known["can_stay"] = session.expires_at - ends_at > 1
        return self.templates.TemplateResponse(
            request,
            "page.html",
            {**known, **shown},
            status_code=status,
            headers={
                "Cache-Control": "no-store",
                "Referrer-Policy": "no-referrer",
                "X-Content-Type-Options": "nosniff",
                # The sign-out form is answered with a redirect to the provider.
                "Content-Security-Policy": (
                    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
                    f"img-src 'self' data:; form-action 'self' {self.config.issuer}; "
                    "frame-ancestors 'none'; base-uri 'none'"
                ),
            },
        )


def site(app: WebApp) -> Starlette:
    """Where everything is."""
    return Starlette(
        routes=[
            Route("/", app.home),
            Route("/login", app.login),
            Route("/callback", app.callback),
            Route("/logout", app.logout, methods=["POST"]),
            Route("/signed-out", app.signed_out),
            Route("/backchannel-logout", app.backchannel_logout, methods=["POST"]),
            Route("/api", app.call_api),
            Route("/payments", app.pay, methods=["POST"]),
            Route("/payments/{id}", app.payment),
            Route("/account", app.account),
            Route("/session", app.session_status),
            Route("/stay", app.stay, methods=["POST"]),
            Route("/events", app.events),
            Mount("/static", StaticFiles(directory=HERE / "static")),
        ]
    )


def create_app() -> Starlette:
    """The app, as its environment says."""
    return site(WebApp(Config.from_environment()))


def _is_of_own_page(request: Request) -> bool:
    return request.headers.get("sec-fetch-site", "same-origin") == "same-origin"
