"""Registering apps: what their metadata may say, checked before it is stored.

Everything that would be refused at use is refused here first: redirect URIs with wildcards, user
names, fragments or odd schemes, PKCE switched off for a public client, unknown methods.
Specs: RFC 7591 section 2, RFC 8252, RFC 9700, OpenID Connect Back-Channel Logout 1.0 section 2.2.
"""

import re
from collections.abc import Collection, Sequence
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from sqlalchemy import select, update

from idp import ids
from idp.errors import Refused
from idp.events.actor import Actor
from idp.events.catalogue import ClientChanged, ClientCreated
from idp.hosts import is_loopback_host
from idp.oauth.client_auth import METHODS
from idp.oauth.keys import ALGORITHMS
from idp.oauth.model import Client
from idp.oauth.server import GRANT_TYPES
from idp.policy import management as rights
from idp.policy.assurance import LADDER
from idp.storage.unit_of_work import UnitOfWork
from idp.work.outbound import problem_with_url

NAME_MAXIMUM = 80
URIS_MAXIMUM = 50
URI_MAXIMUM = 2_048
# What 256 random bits are in base64url.
SECRET_MINIMUM = 43
# What an answer adds, where nothing may come twice (RFC 6749 section 3.1): an `iss` that stood there
# first would be the one that some clients read (RFC 9207).
ANSWERED = frozenset({"code", "state", "iss", "error", "error_description"})
_URI = re.compile(r"[\x21-\x7E]+")
_PRIVATE_SCHEME = re.compile(r"[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+")
_SCOPE = re.compile(r"[\x21\x23-\x5B\x5D-\x7E]{1,80}")
# What an administrator may change of a client that exists.
CHANGEABLE = frozenset(
    {
        "name", "redirect_uris", "post_logout_redirect_uris", "scope", "audience",
        "backchannel_logout_uri", "access_token_format", "access_token_lifetime",
        "refresh_token_lifetime", "id_token_signed_response_alg", "first_party", "allowed_origins",
        "client_uri", "jwks", "jwks_uri", "require_pkce", "assertion_audience", "introspects_all",
        "grant_types", "minimum_acr", "management",
    }
)  # fmt: skip


def create(
    unit: UnitOfWork,
    *,
    name: str,
    redirect_uris: Sequence[str] = (),
    post_logout_redirect_uris: Sequence[str] = (),
    grant_types: Sequence[str] = ("authorization_code", "refresh_token"),
    token_endpoint_auth_method: str = "client_secret_basic",
    scope: str = "openid profile email",
    audience: Sequence[str] = (),
    jwks: dict[str, Any] | None = None,
    jwks_uri: str | None = None,
    backchannel_logout_uri: str | None = None,
    access_token_format: str = "opaque",
    id_token_signed_response_alg: str = "ES256",
    access_token_lifetime: int | None = None,
    refresh_token_lifetime: int | None = None,
    require_pkce: int = 1,
    assertion_audience: str = "issuer",
    first_party: int = 0,
    application_type: str = "web",
    introspects_all: int = 0,
    management: int = 0,
    allowed_origins: Sequence[str] = (),
    client_uri: str | None = None,
    minimum_acr: str | None = None,
    client_id: str | None = None,
    registered_with: str | None = None,
    actor: Actor,
) -> tuple[Client, str | None]:
    """Registers a client; gives it and, for secret-based methods, the secret, shown only now.

    `client_id` is for imports and demos; the server chooses one with the prefix `cli_` otherwise,
    so that it cannot collide with a person's `sub` (RFC 9700 section 4.15).
    """
    has_secret = token_endpoint_auth_method in ("client_secret_basic", "client_secret_post")
    secret = ids.new_secret() if has_secret else None
    client = Client(
        id=client_id or ids.new("cli"),
        name=name,
        secret_hash=ids.digest(secret) if secret else None,
        token_endpoint_auth_method=token_endpoint_auth_method,
        grant_types=list(grant_types),
        redirect_uris=list(redirect_uris),
        post_logout_redirect_uris=list(post_logout_redirect_uris),
        scope=scope,
        audience=list(audience),
        jwks=jwks,
        jwks_uri=jwks_uri,
        backchannel_logout_uri=backchannel_logout_uri,
        access_token_format=access_token_format,
        id_token_signed_response_alg=id_token_signed_response_alg,
        access_token_lifetime=access_token_lifetime,
        refresh_token_lifetime=refresh_token_lifetime,
        require_pkce=require_pkce,
        assertion_audience=assertion_audience,
        first_party=first_party,
        application_type=application_type,
        introspects_all=introspects_all,
        management=management,
        allowed_origins=list(allowed_origins),
        client_uri=client_uri,
        minimum_acr=minimum_acr,
        token_generation=1,
        created_at=unit.now,
        registered_with=registered_with,
    )
    _check(unit, client)
    if unit.orm.get(Client, client.id) is not None:
        raise Refused("client_exists", "A client with this identifier exists already.", 409)
    unit.orm.add(client)
    unit.record(
        ClientCreated(
            actor=actor.kind,
            actor_id=actor.id,
            client_id=client.id,
            registered_with=registered_with,
        )
    )
    return client, secret


def change(unit: UnitOfWork, client: Client, *, actor: Actor, **values: Any) -> None:
    """Changes metadata of a client; refuses what may not be changed or is not valid.

    An app that registered itself and was changed by an administrator changes itself no more: it
    would take back what they did.
    """
    unknown = set(values) - CHANGEABLE
    if unknown:
        raise Refused("invalid_client_metadata", f"Cannot be changed: {', '.join(sorted(unknown))}")
    changed = [name for name, value in values.items() if getattr(client, name) != value]
    registered = frozenset(client.redirect_uris)
    for name in changed:
        setattr(client, name, values[name])
    _check(unit, client, registered=registered)
    if changed:
        if actor.kind == "admin":
            forget_registration(client)
        unit.record(_changed(client, changed, actor))


def forget_registration(client: Client) -> None:
    """From now on only administrators change the app."""
    client.registration_hash = client.previous_registration_hash = None
    client.unseen_registration_token = None


def by_id(unit: UnitOfWork, client_id: str) -> Client | None:
    return unit.orm.get(Client, client_id)


def all_of(unit: UnitOfWork) -> list[Client]:
    """Every client, by name."""
    return list(unit.orm.scalars(select(Client).order_by(Client.name, Client.id)))


def origins(unit: UnitOfWork) -> frozenset[str]:
    """Every browser origin that some enabled client registered."""
    rows = unit.orm.scalars(
        select(Client.allowed_origins).where(
            Client.allowed_origins != [], Client.disabled_at.is_(None)
        )
    )
    return frozenset(origin for row in rows for origin in row)


def rotate_secret(
    unit: UnitOfWork, client: Client, *, actor: Actor, overlap: Literal["keep", "none"] = "keep"
) -> str:
    """A new secret; the one before works on until the next rotation, or ("none") not at all."""
    if client.secret_hash is None:
        raise Refused("no_secret", "This client does not authenticate with a secret.")
    secret = ids.new_secret()
    client.previous_secret_hash = client.secret_hash if overlap == "keep" else None
    client.secret_hash = ids.digest(secret)
    unit.record(_changed(client, ["secret"], actor))
    return secret


def set_secret(
    unit: UnitOfWork,
    client: Client,
    secret: str,
    *,
    actor: Actor,
    overlap: Literal["keep", "none"] = "keep",
) -> None:
    """Gives a client a secret that was made elsewhere, as `rotate_secret` gives one of ours.

    A digest is all that keeps it, so it must be as random as ours are, of which we see its length.
    """
    if client.secret_hash is None:
        raise Refused("no_secret", "This client does not authenticate with a secret.")
    if len(secret) < SECRET_MINIMUM or not _URI.fullmatch(secret):
        raise Refused(
            "weak_secret",
            f"A client's secret has at least {SECRET_MINIMUM} printable ASCII characters; make one "
            "with: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
        )
    client.previous_secret_hash = client.secret_hash if overlap == "keep" else None
    client.secret_hash = ids.digest(secret)
    unit.record(_changed(client, ["secret"], actor))


def set_enabled(unit: UnitOfWork, client: Client, *, is_enabled: bool, actor: Actor) -> None:
    """Enables or disables a client; while disabled every token of it is refused."""
    client.disabled_at = None if is_enabled else unit.now
    unit.record(_changed(client, ["enabled" if is_enabled else "disabled"], actor))


def revoke_own_tokens(unit: UnitOfWork, client: Client, *, actor: Actor) -> None:
    """Refuses every client-credentials token made so far."""
    unit.orm.execute(
        update(Client)
        .where(Client.id == client.id)
        .values(token_generation=Client.token_generation + 1)
        .execution_options(synchronize_session="fetch")
    )
    unit.record(_changed(client, ["token_generation"], actor))


def delete(unit: UnitOfWork, client: Client, *, actor: Actor) -> None:
    """Deletes a client with every grant and consent of it."""
    unit.orm.delete(client)
    unit.record(_changed(client, ["deleted"], actor))


def problem_with_redirect_uri(uri: str, *, application_type: str = "web") -> str | None:
    """Why a redirect URI cannot be registered, as a sentence; None when it can."""
    if len(uri) > URI_MAXIMUM or not _URI.fullmatch(uri) or any(c in uri for c in '*#\\"<>^`{|}'):
        return "A redirect URI is plain ASCII without wildcards, fragments or spaces."
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "A redirect URI must be a valid address."
    if parts.scheme != uri.partition(":")[0] or parts.netloc != parts.netloc.lower():
        return "Scheme and host of a redirect URI are written in lower case."
    if "@" in parts.netloc:
        return "A redirect URI has no user name."
    if ".." in parts.path or "%2e" in parts.path.lower() or ";" in parts.path:
        return "The path of a redirect URI has no dot segments and no parameters."
    if parts.scheme == "https" and host:
        return None
    if parts.scheme == "http" and host and is_loopback_host(host):
        return None
    if application_type == "native" and _PRIVATE_SCHEME.fullmatch(parts.scheme):
        return None
    return (
        "A redirect URI uses https; http only on loopback; native apps may use a scheme of their "
        "own in reverse domain notation, such as com.example.app."
    )


def problem_with_query(redirect_uri: str) -> str | None:
    """Why an address with this query cannot be registered: an answer's parameters must not be there
    twice. Asked of new addresses only: one of before this was asked is not to keep an app from change.
    """
    query = redirect_uri.partition("?")[2]
    if ANSWERED & {name for name, _ in parse_qsl(query, keep_blank_values=True)}:
        return f"The query of a redirect URI has none of: {', '.join(sorted(ANSWERED))}."
    return None


def _check(unit: UnitOfWork, client: Client, *, registered: Collection[str] = frozenset()) -> None:
    """Raises `Refused` for what cannot stand; `registered` are redirect URIs that it had before."""
    called = [
        problem_with_url(uri, unit.settings.outbound)
        for uri in (client.backchannel_logout_uri, client.jwks_uri)
        if uri is not None
    ]
    queries = [problem_with_query(uri) for uri in client.redirect_uris if uri not in registered]
    for problem in [*_problems(client), *queries, *called]:
        if problem is not None:
            raise Refused("invalid_client_metadata", problem)


def _problems(client: Client) -> list[str | None]:
    kind = client.application_type
    public = client.token_endpoint_auth_method == "none"
    code = "authorization_code" in client.grant_types
    return [
        _problem_with_name(client),
        _one_of("token_endpoint_auth_method", client.token_endpoint_auth_method, METHODS),
        _one_of("application_type", kind, ("web", "native")),
        _one_of("access_token_format", client.access_token_format, ("opaque", "jwt")),
        _one_of("assertion_audience", client.assertion_audience, ("issuer", "lenient")),
        None if client.minimum_acr is None else _one_of("minimum_acr", client.minimum_acr, LADDER),
        _one_of("id_token_signed_response_alg", client.id_token_signed_response_alg, ALGORITHMS),
        *(_one_of("grant_types", one, GRANT_TYPES) for one in client.grant_types),
        None if client.grant_types else "A client needs at least one grant type.",
        None
        if not code or client.redirect_uris
        else "A client with the code flow needs a redirect URI.",
        None
        if not public or "client_credentials" not in client.grant_types
        else "A public client cannot act for itself.",
        None
        if not public or client.require_pkce
        else "PKCE can be switched off only for a confidential client.",
        None
        if client.token_endpoint_auth_method != "private_key_jwt"
        or bool(client.jwks) != bool(client.jwks_uri)
        else "private_key_jwt needs jwks or jwks_uri, and only one of them.",
        _problem_with_keys(client.jwks),
        _too_many(client),
        *(problem_with_redirect_uri(uri, application_type=kind) for uri in client.redirect_uris),
        *(
            problem_with_redirect_uri(uri, application_type=kind)
            for uri in client.post_logout_redirect_uris
        ),
        *(_problem_with_origin(origin) for origin in client.allowed_origins),
        *(
            None if _SCOPE.fullmatch(one) else "A scope has printable ASCII, no quote or backslash."
            for one in client.scope.split()
        ),
        None
        if client.management or not rights.rights_in(client.scope.split())
        else "Only a management client may have scopes of the management API.",
        None
        if client.registered_with is None
        or not (client.first_party or client.management or client.introspects_all)
        else "An app that registered itself stays a stranger: people are asked before it gets "
        "anything, it manages nothing, and it checks only its own tokens.",
        None
        if not client.management or not client.audience
        else "The tokens of a management client are for this server alone: leave audience out.",
        _problem_with_lifetime("access_token_lifetime", client.access_token_lifetime, 86_400),
        _problem_with_lifetime(
            "refresh_token_lifetime", client.refresh_token_lifetime, 400 * 86_400
        ),
        None
        if client.client_uri is None
        or (
            client.client_uri.startswith(("https://", "http://"))
            and _URI.fullmatch(client.client_uri)
        )
        else "client_uri must be an https address.",
    ]


def _problem_with_name(client: Client) -> str | None:
    if not client.name.strip() or len(client.name) > NAME_MAXIMUM or not client.name.isprintable():
        return f"A client's name has 1 to {NAME_MAXIMUM} visible characters."
    if not re.fullmatch(r"[A-Za-z0-9._~-]{1,64}", client.id) or client.id.startswith("usr_"):
        return "A client identifier has letters, digits, '.', '_', '~', '-', and is no user's."
    return None


def _one_of(name: str, value: str, allowed: Sequence[str]) -> str | None:
    return None if value in allowed else f"{name} must be one of: {', '.join(allowed)}."


def _too_many(client: Client) -> str | None:
    lists = (client.redirect_uris, client.post_logout_redirect_uris, client.allowed_origins)
    return "Too many addresses." if any(len(one) > URIS_MAXIMUM for one in lists) else None


def _problem_with_keys(jwks: dict[str, Any] | None) -> str | None:
    if jwks is None:
        return None
    listed = jwks.get("keys")
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        return "jwks is not a JSON Web Key Set."
    if any(one.get("kty") == "oct" for one in listed):
        return "jwks must hold public keys only."
    try:
        keys = KeySet.import_key_set(jwks)  # type: ignore[arg-type]
    except (JoseError, ValueError, TypeError, KeyError):
        return "jwks is not a JSON Web Key Set."
    if any(key.is_private or key.key_type == "oct" for key in keys.keys):
        return "jwks must hold public keys only."
    return None


def _problem_with_origin(origin: str) -> str | None:
    wrong = "An allowed origin is scheme, host and port only, such as https://app.example.com."
    if len(origin) > URI_MAXIMUM or not _URI.fullmatch(origin) or origin != origin.lower():
        return wrong
    if any(character in origin for character in "*@"):
        return wrong
    try:
        parts = urlsplit(origin)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return wrong
    if origin != f"{parts.scheme}://{parts.netloc}" or parts.scheme not in ("https", "http"):
        return wrong
    if parts.scheme == "http" and not is_loopback_host(host or ""):
        return "An allowed origin uses https."
    return None


def _problem_with_lifetime(name: str, seconds: int | None, maximum: int) -> str | None:
    if seconds is None or 30 <= seconds <= maximum:
        return None
    return f"{name} must be between 30 and {maximum} seconds."


def _changed(client: Client, changed: list[str], actor: Actor) -> ClientChanged:
    return ClientChanged(actor=actor.kind, actor_id=actor.id, client_id=client.id, changed=changed)
