"""authlib's authorization server, made for one decision on preloaded facts.

Owns the glue: who the client is, how tokens are minted, what is to be written. The grants
(`grants/`) say what each grant requires. Nothing here touches the database: facts came in, writes
go out, so that `/token` is one statement in and one transaction out.
"""

import secrets
from typing import Any

import orjson
from authlib.oauth2.rfc6749 import (
    AuthorizationServer,
    InvalidRequestError,
    OAuth2Error,
)

from idp import ids
from idp.clock import SECOND, Instant
from idp.events.catalogue import Event
from idp.events.log import hot_write
from idp.oauth import access_token, client_auth, id_token, lifetimes, refresh_token
from idp.oauth.client_auth import Presented
from idp.oauth.facts import BY_AUTHORIZATION, BY_CODE, BY_DEVICE_CODE, ClientFacts, TokenFacts
from idp.oauth.grants.authorization_code import AuthorizationCodeGrant, Pkce
from idp.oauth.grants.client_credentials import ClientCredentialsGrant
from idp.oauth.grants.device_code import DEVICE_CODE, DeviceCodeGrant
from idp.oauth.grants.refresh_token import RefreshTokenGrant
from idp.oauth.provider import REALM, Answer, Decision, Provider, json_answer
from idp.oauth.request import ProtocolRequest
from idp.sessions import hot
from idp.storage.database import HotStatement, Write

GRANT_TYPES = ("authorization_code", "refresh_token", "client_credentials", DEVICE_CODE)
_PKCE = [Pkce()]


class Server(AuthorizationServer):
    """One decision of the token side. Made, asked once, thrown away."""

    def __init__(
        self, provider: Provider, facts: TokenFacts, presented: Presented, now: Instant
    ) -> None:
        super().__init__()
        self.provider = provider
        self.facts = facts
        self.presented = presented
        self.now = now
        self.writes: list[Write] = []
        self.decision = Decision(Answer(500))
        # Set by the grants: the generation whose refresh token the answer carries, when its family
        # ends, and the session's idle deadline from now on.
        self.refresh_generation = 0
        self.refresh_salt: bytes | None = None
        self.refresh_expires_at: Instant | None = None
        self.idle_at: Instant = 0
        self.register_grant(AuthorizationCodeGrant, _PKCE)
        self.register_grant(RefreshTokenGrant)
        self.register_grant(ClientCredentialsGrant)
        self.register_grant(DeviceCodeGrant)

    def query_client(self, client_id: str) -> ClientFacts | None:
        client = self.facts.client
        return client if client is not None and client.id == client_id else None

    def authenticate_client(
        self, request: ProtocolRequest, methods: list[str], endpoint: str = "token"
    ) -> ClientFacts:
        del methods, endpoint
        client, writes = client_auth.verify(self.presented, self.facts, self.provider, self.now)
        self.writes.extend(writes)
        request.auth_method = self.presented.method
        return client

    def generate_token(
        self,
        grant_type: str,
        client: ClientFacts,
        user: Any = None,
        scope: str | None = None,
        expires_in: int | None = None,
        include_refresh_token: bool = True,
    ) -> dict[str, Any]:
        del expires_in
        settings, vault, keyring = (
            self.provider.settings,
            self.provider.vault,
            self.provider.keyring,
        )
        granted = " ".join(dict.fromkeys((scope or "").split()))
        authorization = self.facts.authorization if grant_type != "client_credentials" else None
        made = access_token.mint(
            client,
            granted,
            authorization=authorization,
            user=user,
            settings=settings,
            vault=vault,
            keyring=keyring,
            now=self.now,
        )
        token: dict[str, Any] = {
            "access_token": made,
            "token_type": "Bearer",
            "expires_in": access_token.lifetime(client, settings),
        }
        if granted:
            token["scope"] = granted
        if authorization is None:
            return token
        if include_refresh_token and self.refresh_salt is not None:
            token["refresh_token"] = refresh_token.make(
                authorization.id, self.refresh_generation, salt=self.refresh_salt, vault=vault
            )
            if self.facts.session is not None and self.refresh_expires_at is not None:
                token |= lifetimes.told(
                    authorization,
                    self.facts.session,
                    family_expires_at=self.refresh_expires_at,
                    idle_at=self.idle_at,
                    now=self.now,
                )
        if "openid" in granted.split():
            token["id_token"] = id_token.mint(
                client,
                authorization,
                user,
                session=self.facts.session,
                access_token=made,
                with_nonce=authorization.nonce if grant_type == "authorization_code" else None,
                settings=settings,
                vault=vault,
                keyring=keyring,
                now=self.now,
            )
        return token

    def begin_refreshing(self, client: ClientFacts) -> None:
        """A first refresh token comes with the answer, where the app takes any.

        Redeeming is activity: the caller writes that of the session (`hot.touching`).
        """
        session = self.facts.session
        if session is None or not client.check_grant_type("refresh_token"):
            return
        lifetime = client.refresh_token_lifetime or self.provider.settings.tokens.refresh_lifetime
        self.refresh_salt, self.refresh_generation = secrets.token_bytes(32), 1
        self.refresh_expires_at = self.now + lifetime * SECOND
        self.idle_at = hot.idle_at_after(session, self.now)

    def record(self, event: Event) -> None:
        """Adds an event to what is written."""
        self.writes.append(hot_write(event, self.now))

    def save_token(self, token: dict[str, Any], request: ProtocolRequest) -> None:
        """Nothing to save: a token is a view of its authorization."""

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """authlib's signals are not used; events are."""

    def create_oauth2_request(self, request: ProtocolRequest) -> ProtocolRequest:
        return request

    def handle_response(self, status: int, body: Any, headers: list[tuple[str, str]]) -> Answer:
        return json_answer(status, dict(body), _challenges(headers))


def facts_key(form: dict[str, str], presented: Presented) -> tuple[HotStatement, dict[str, Any]]:
    """Which statement loads the facts of a token request, and its parameters."""
    parameters: dict[str, Any] = {
        "client_id": presented.client_id,
        "assertion_jti": presented.assertion_jti,
        "owner_id": presented.client_id,
        "jti": "",
    }
    grant_type = form.get("grant_type")
    if grant_type == "authorization_code":
        return BY_CODE, parameters | {"code_hash": ids.digest(form.get("code", ""))}
    if grant_type == DEVICE_CODE:
        code_hash = ids.digest(form.get("device_code", ""))
        return BY_DEVICE_CODE, parameters | {"code_hash": code_hash}
    found = refresh_token.parse(form.get("refresh_token", ""))
    return BY_AUTHORIZATION, parameters | {
        "authorization_id": found.authorization_id if found else ""
    }


def decide(
    form: dict[str, str],
    presented: Presented,
    facts: TokenFacts,
    provider: Provider,
    now: Instant,
) -> Decision:
    """Answers a token request from facts (RFC 6749 section 3.2)."""
    server = Server(provider, facts, presented, now)
    request = ProtocolRequest("POST", f"{provider.settings.issuer}/token", values=form, headers={})
    try:
        _require_known_grant(form)
        server.decision.answer = server.create_token_response(request)
    except OAuth2Error as error:
        server.decision.answer = error_answer(error)
    server.decision.writes = server.writes
    return server.decision


def _require_known_grant(form: dict[str, str]) -> None:
    if not form.get("grant_type"):
        raise InvalidRequestError("The parameter grant_type is missing.")
    if form["grant_type"] not in GRANT_TYPES:
        raise OAuth2Error("This grant type is not supported.", error="unsupported_grant_type")


def error_answer(error: OAuth2Error) -> Answer:
    """An error of the token side: JSON, not cached (RFC 6749 section 5.2)."""
    status, body, headers = error()
    return json_answer(status, dict(body), _challenges(headers))


def _challenges(headers: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """What authlib asks for in its place, with the realm that it leaves out."""
    return tuple(
        (name, value.replace("Basic ", f'Basic realm="{REALM}", ', 1))
        for name, value in headers
        if name == "WWW-Authenticate"
    )


def as_json(value: object) -> str:
    """JSON text for a column that the bare driver writes."""
    return orjson.dumps(value).decode()
