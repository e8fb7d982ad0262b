"""Apps that register themselves, and manage what they registered (RFC 7591, RFC 7592).

Owns what such an app may say of itself; by which token it does is `registration_token`. What metadata
means is checked where that of every app is (`idp.oauth.clients`); here stand only the names and
defaults of the specifications, and the bounds of the initial access token. What would get an app more
than metadata (every other column of a client) is refused by name, and so is what we know and do not do:
an app that asks for encrypted ID tokens must not believe that it has them. Names that nobody knows are
ignored, as RFC 7591 section 2 demands, and are absent from the answer.
Specs: RFC 7591, RFC 7592, OpenID Connect Dynamic Client Registration 1.0 section 2, OpenID Connect
RP-Initiated Logout 1.0 section 3.1, OpenID Connect Back-Channel Logout 1.0 section 2.2.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from idp import ids
from idp.clock import SECOND
from idp.errors import Refused
from idp.events.actor import Actor
from idp.oauth import clients, initial_access, registration_token
from idp.oauth.model import Client, InitialAccessToken
from idp.storage.unit_of_work import UnitOfWork

# What may be said, and the column it becomes.
_TEXTS = {
    "client_name": "name",
    "client_uri": "client_uri",
    "jwks_uri": "jwks_uri",
    "scope": "scope",
    "backchannel_logout_uri": "backchannel_logout_uri",
    "id_token_signed_response_alg": "id_token_signed_response_alg",
}
_LISTS = ("redirect_uris", "post_logout_redirect_uris", "grant_types")
# Said once, when an app is registered: another way to authenticate is another app.
_FIXED = ("token_endpoint_auth_method", "application_type")
_TAKEN = {*_TEXTS, *_LISTS, *_FIXED, "jwks", "response_types", "subject_type"}
# Known, not done, and an app would be worse off if it believed otherwise.
_NOT_DONE = frozenset(
    {
        "sector_identifier_uri", "id_token_encrypted_response_alg",
        "id_token_encrypted_response_enc", "userinfo_signed_response_alg",
        "userinfo_encrypted_response_alg", "userinfo_encrypted_response_enc",
        "request_object_signing_alg", "request_object_encryption_alg",
        "request_object_encryption_enc", "token_endpoint_auth_signing_alg", "default_max_age",
        "default_acr_values", "frontchannel_logout_uri", "require_pushed_authorization_requests",
        "require_signed_request_object", "authorization_signed_response_alg",
        "dpop_bound_access_tokens", "tls_client_certificate_bound_access_tokens",
        "backchannel_token_delivery_mode",
    }
)  # fmt: skip
# Ours alone: what an administrator decides, and what nobody sets.
_PRIVILEGED = frozenset(Client.__table__.columns.keys()) - _TAKEN
# RFC 7592 section 2.2: they describe the registration, and are not metadata.
_NOT_TO_BE_SENT = (
    "registration_access_token", "registration_client_uri", "client_secret_expires_at",
    "client_id_issued_at",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Registration:
    """A registered app, with the secrets that its answer shows."""

    client: Client
    # By which it is managed from now on.
    token: str
    secret: str | None = None


def require_initial(unit: UnitOfWork, initial_token: str) -> None:
    """Refuses a token that is not good, before anybody is kept waiting; raises `BearerError`."""
    if not initial_access.is_known(unit, initial_token):
        raise registration_token.invalid()


def require(unit: UnitOfWork, client_id: str, token: str) -> None:
    """The same of a registration access token for this app."""
    client = unit.orm.get(Client, client_id)
    if client is None or not registration_token.is_of(client, token):
        raise registration_token.invalid()


def register(unit: UnitOfWork, said: Mapping[str, Any], *, initial_token: str) -> Registration:
    """Registers the app that speaks (RFC 7591 section 3).

    Raises `BearerError` for a token that is not good (any more), and `Refused` for what it may not say;
    then no use of the token is spent.
    """
    leave = initial_access.spend(unit, initial_token)
    if leave is None:
        raise registration_token.invalid()
    fixed = {name: said[name] for name in _FIXED if said.get(name) is not None}
    values = _values(said, leave, kind=fixed.get("application_type", "web"))
    client_id = ids.new("cli")
    client, secret = clients.create(
        unit,
        **values,
        **fixed,
        client_id=client_id,
        registered_with=leave.id,
        actor=Actor("client", client_id),
    )
    return Registration(client, registration_token.first(client), secret)


def read(unit: UnitOfWork, client_id: str, token: str) -> Registration | None:
    """The registration as it stands (RFC 7592 section 2.1).

    Raises `BearerError`. None: the token is a copy, and that is to be remembered.
    """
    held = registration_token.held(unit, client_id, token)
    if held is None:
        return None
    newest = registration_token.unseen(unit, held.client) if held.is_again else token
    return Registration(held.client, newest)


def replace(
    unit: UnitOfWork, client_id: str, token: str, said: Mapping[str, Any]
) -> Registration | None:
    """Replaces all that the app says of itself (RFC 7592 section 2.2); it gets a new token.

    What it leaves out is as usual again. Raises `BearerError`, and `Refused`. None as for `read`.
    """
    held = registration_token.held(unit, client_id, token)
    if held is None:
        return None
    client = held.client
    _require_own(client, said)
    leave = unit.orm.get_one(InitialAccessToken, client.registered_with)
    values = _values(said, leave, kind=client.application_type, registered=client.redirect_uris)
    clients.change(unit, client, actor=Actor("client", client.id), **values)
    if held.is_again:
        # The same once more: two who hold one token do not get two that go on side by side.
        return Registration(client, registration_token.unseen(unit, client))
    return Registration(client, registration_token.following(unit, client))


def remove(unit: UnitOfWork, client_id: str, token: str) -> bool:
    """Deletes the app with every grant of it (RFC 7592 section 2.3).

    Raises `BearerError`. False: the token is a copy, and that is to be remembered.
    """
    held = registration_token.held(unit, client_id, token)
    if held is None:
        return False
    clients.delete(unit, held.client, actor=Actor("client", held.client.id))
    return True


def metadata(client: Client) -> dict[str, Any]:
    """What is registered, by the names of the specifications; what was not given is absent."""
    by_name = {
        **{name: getattr(client, column) for name, column in _TEXTS.items()},
        **{name: getattr(client, name) for name in (*_LISTS, *_FIXED)},
        "jwks": client.jwks,
        "response_types": _response_types(client.grant_types),
        "subject_type": "public",
    }
    return {name: value for name, value in by_name.items() if value is not None}


def answer(registered: Registration, issuer: str) -> dict[str, Any]:
    """The client information response (RFC 7591 section 3.2.1, RFC 7592 section 3)."""
    client = registered.client
    found = {
        "client_id": client.id,
        "client_id_issued_at": client.created_at // SECOND,
        "registration_access_token": registered.token,
        "registration_client_uri": f"{issuer}/register/{client.id}",
        **metadata(client),
    }
    if registered.secret is not None:
        found |= {"client_secret": registered.secret, "client_secret_expires_at": 0}
    return found


def _require_own(client: Client, said: Mapping[str, Any]) -> None:
    """What an update must and must not repeat (RFC 7592 section 2.2)."""
    sent = [name for name in _NOT_TO_BE_SENT if name in said]
    if sent:
        raise _invalid(f"An update does not contain {sent[0]}.")
    if said.get("client_id") != client.id:
        raise _invalid("An update names the client_id that it is for.")
    secret = said.get("client_secret")
    if secret is not None and not (
        isinstance(secret, str) and ids.digest(secret) == client.secret_hash
    ):
        raise _invalid("client_secret is not the one that was given; it cannot be chosen.")
    for name in _FIXED:
        if said.get(name) not in (None, getattr(client, name)):
            raise _invalid(f"{name} cannot be changed; register another app.")


def _values(
    said: Mapping[str, Any],
    leave: InitialAccessToken,
    *,
    kind: str,
    registered: Collection[str] = (),
) -> dict[str, Any]:
    """Every column that metadata decides, from what was said and the defaults of the specifications.

    `registered` are the redirect URIs that the app had before.
    """
    if said.get("software_statement") is not None:
        raise Refused(
            "invalid_software_statement", "Software statements are not taken here: leave it out."
        )
    for name in sorted(said):
        if said[name] is not None and name in _NOT_DONE | _PRIVILEGED:
            raise _invalid(f"{name} cannot be registered here.")
    values: dict[str, Any] = {
        column: _of_kind(said, name, str, "a text") for name, column in _TEXTS.items()
    }
    values |= {name: _list(said, name) or [] for name in _LISTS}
    values["jwks"] = _of_kind(said, "jwks", dict, "an object")
    for name in _FIXED:
        _of_kind(said, name, str, "a text")
    values["grant_types"] = values["grant_types"] or ["authorization_code"]
    values["id_token_signed_response_alg"] = values["id_token_signed_response_alg"] or "RS256"
    values["scope"] = values["scope"] if values["scope"] is not None else leave.scope
    values["name"] = values["name"] or _name_from(values["redirect_uris"])
    if said.get("subject_type") not in (None, "public"):
        raise _invalid("subject_type can only be public.")
    expected = _response_types(values["grant_types"])
    if (_list(said, "response_types") or expected) != expected:
        raise _invalid(
            "response_types is code with the grant type authorization_code, or else empty."
        )
    _require_within(values, leave, kind=kind, registered=registered)
    return values


def _require_within(
    values: Mapping[str, Any],
    leave: InitialAccessToken,
    *,
    kind: str,
    registered: Collection[str],
) -> None:
    """Refuses what goes beyond the initial access token, redirect URIs by an error of their own."""
    for uri in values["redirect_uris"]:
        problem = clients.problem_with_redirect_uri(uri, application_type=kind)
        if problem is None and uri not in registered:
            problem = clients.problem_with_query(uri)
        if problem is None and not initial_access.allows_address(leave, uri):
            problem = "The initial access token does not allow redirect URIs at this host."
        if problem is not None:
            raise Refused("invalid_redirect_uri", problem)
    named = [
        *values["post_logout_redirect_uris"],
        *(values[one] for one in ("client_uri", "jwks_uri", "backchannel_logout_uri")),
    ]
    for address in named:
        if address is None:
            continue
        # The same strictness for all: browsers read some odd addresses otherwise than we do.
        problem = clients.problem_with_redirect_uri(address, application_type=kind)
        if problem is not None or not initial_access.allows_address(leave, address):
            raise _invalid(f"The initial access token does not allow addresses such as {address}.")
    beyond = set(values["scope"].split()) - set(leave.scope.split())
    if beyond:
        raise _invalid(f"The initial access token does not allow the scope {min(beyond)}.")
    odd = set(values["grant_types"]) - set(leave.grant_types)
    if odd:
        raise _invalid(f"The initial access token does not allow the grant type {min(odd)}.")


def _list(said: Mapping[str, Any], name: str) -> list[str] | None:
    found: list[str] | None = _of_kind(said, name, list, "a list of texts")
    if found is not None and not all(isinstance(one, str) for one in found):
        raise _problem_with(name)("must be a list of texts.")
    return found


def _of_kind(said: Mapping[str, Any], name: str, kind: type, words: str) -> Any:
    value = said.get(name)
    if value is not None and not isinstance(value, kind):
        raise _problem_with(name)(f"must be {words}.")
    return value


def _problem_with(name: str) -> Callable[[str], Refused]:
    code = "invalid_redirect_uri" if name == "redirect_uris" else "invalid_client_metadata"
    return lambda what: Refused(code, f"{name} {what}")


def _response_types(grant_types: list[str]) -> list[str]:
    return ["code"] if "authorization_code" in grant_types else []


def _name_from(redirect_uris: list[str]) -> str:
    """What people are shown of an app that does not say what it is called: where it is."""
    try:
        host = urlsplit(redirect_uris[0]).hostname if redirect_uris else None
    except ValueError:
        host = None
    return (host or "An app without a name")[: clients.NAME_MAXIMUM]


def _invalid(sentence: str) -> Refused:
    return Refused("invalid_client_metadata", sentence)
