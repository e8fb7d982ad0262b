"""Authorization requests pushed to ourselves: what a sign-in carries while a person is busy.

A request that needs a page is stored here, sealed, bound to the browser that began it. The pages
know only its reference, note what was done for it, and send the person back to `/authorize`, which
decides again. Pushed authorization requests by clients (RFC 9126) will be the same rows.
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import orjson
from sqlalchemy import bindparam, insert, null, select, update

from idp import ids
from idp.clock import SECOND, Instant
from idp.oauth.facts import OF_PENDING, ClientFacts, PendingFacts, pending_facts
from idp.oauth.model import PendingRequest
from idp.oauth.provider import Provider
from idp.storage import waiting_room
from idp.storage.database import HotStatement, Write
from idp.storage.store import Store
from idp.storage.unit_of_work import UnitOfWork, Work
from idp.storage.vault import Unreadable, Vault

BATCH = 1_000
WAITING_MAXIMUM = 50_000
# What is kept of a request: nothing that we would not look at again.
KEPT = frozenset(
    {
        "client_id",
        "redirect_uri",
        "response_type",
        "response_mode",
        "scope",
        "state",
        "nonce",
        "code_challenge",
        "code_challenge_method",
        "prompt",
        "display",
        "max_age",
        "acr_values",
        "claims",
        "id_token_hint",
        "login_hint",
        "ui_locales",
    }
)
_FULL = "pending_requests:full"
URN = "urn:ietf:params:oauth:request_uri:"

_PUSH = HotStatement(
    insert(PendingRequest).inline(),
    columns=("id", "client_id", "parameters", "browser_hash", "created_at", "expires_at"),
)
_USE = HotStatement(
    update(PendingRequest)
    .where(PendingRequest.id == bindparam("pending_id"), PendingRequest.used_at == null())
    .values(used_at=bindparam("now")),
    must_change=True,
)


@dataclass(frozen=True, slots=True)
class Pending:
    """A pending request as the pages see it."""

    id: str
    client: ClientFacts
    client_uri: str | None
    parameters: dict[str, str]
    created_at: Instant
    authenticated_session_id: str | None


def push(
    values: dict[str, str], client_id: str, *, browser_hash: str, provider: Provider, now: Instant
) -> tuple[str, Write]:
    """Stores a request; gives its reference and the write."""
    reference = ids.new("req")
    return reference, Write(
        _PUSH,
        {
            "id": reference,
            "client_id": client_id,
            "parameters": provider.vault.seal_text(
                orjson.dumps({name: values[name] for name in values if name in KEPT}).decode(),
                _context(reference),
            ),
            "browser_hash": browser_hash,
            "created_at": now,
            "expires_at": now + provider.settings.tokens.request_lifetime * SECOND,
        },
    )


def use(reference: str, now: Instant) -> Write:
    """Spends a pending request, once, with the answer it led to."""
    return Write(_USE, {"pending_id": reference, "now": now})


def open_parameters(
    pending: PendingFacts, *, browser_hash: str | None, vault: Vault, now: Instant
) -> dict[str, str] | None:
    """The parameters of a request that still counts in this browser; None otherwise (AC-08)."""
    if pending.used_at is not None or now >= pending.expires_at:
        return None
    if browser_hash is None or pending.browser_hash != browser_hash:
        return None
    return _opened(vault, pending.id, pending.sealed_parameters)


def find(work: Work, reference: str, browser_hash: str | None) -> Pending | None:
    """The pending request a page was opened for; None when unknown, used, old or another browser's."""
    row = work.database.query(OF_PENDING, {"pending_id": reference})
    if row is None:
        return None
    found, client, client_uri = pending_facts(row)
    now = work.clock.now()
    parameters = open_parameters(found, browser_hash=browser_hash, vault=work.vault, now=now)
    if parameters is None:
        return None
    return Pending(
        found.id, client, client_uri, parameters, found.created_at, found.authenticated_session_id
    )


_NOTE_AUTHENTICATION = HotStatement(
    update(PendingRequest)
    .where(PendingRequest.id == bindparam("pending_id"), PendingRequest.used_at == null())
    .values(authenticated_session_id=bindparam("session_id"))
)


def note_authentication(unit: UnitOfWork, pending_id: str, session_id: str) -> None:
    """Remembers that this session was (re-)authenticated for this request."""
    unit.run(_NOTE_AUTHENTICATION, {"pending_id": pending_id, "session_id": session_id})


def note_consent(unit: UnitOfWork, pending_id: str, session_id: str) -> None:
    """Remembers that the person of this session allowed this request."""
    _note(unit, pending_id, consented_session_id=session_id)


def note_denial(unit: UnitOfWork, pending_id: str) -> None:
    """Remembers that the person refused; final for this request."""
    _note(unit, pending_id, denied_at=unit.now)


def return_url(pending_id: str, client_id: str) -> str:
    """Where every page sends the person back to: the endpoint that decides."""
    return "/authorize?" + urlencode({"client_id": client_id, "request_uri": URN + pending_id})


def reference_of(values: dict[str, str]) -> str | None:
    """The reference a request carries instead of its parameters, if it does."""
    request_uri = values.get("request_uri", "")
    return request_uri.removeprefix(URN) if request_uri.startswith(URN) else None


def watch_room(unit: UnitOfWork, store: Store) -> int:
    """Says in the Store whether too many requests are waiting; gives how many. Run now and then.

    Anybody can begin a sign-in, so what they may leave behind is bounded (DS-08): at the limit new
    ones are answered 503 until old ones have expired.
    """
    return waiting_room.watch(unit, store, PendingRequest, full=_FULL, maximum=WAITING_MAXIMUM)


def has_room(store: Store) -> bool:
    """Whether another request may be stored."""
    return waiting_room.has_room(store, full=_FULL)


def delete_expired(unit: UnitOfWork, *, batch: int = BATCH) -> int:
    """Removes requests that can no longer be finished; gives how many."""
    expired = unit.connection.scalars(
        select(PendingRequest.id).where(PendingRequest.expires_at <= unit.now).limit(batch)
    ).all()
    table: Any = PendingRequest.__table__
    if expired:
        unit.connection.execute(table.delete().where(table.c.id.in_(expired)))
    return len(expired)


def _note(unit: UnitOfWork, pending_id: str, **values: object) -> None:
    unit.orm.execute(
        update(PendingRequest)
        .where(PendingRequest.id == pending_id, PendingRequest.used_at.is_(None))
        .values(**values)
        .execution_options(synchronize_session="fetch")
    )


def _context(reference: str) -> str:
    return f"request:{reference}"


def _opened(vault: Vault, reference: str, sealed: str) -> dict[str, str] | None:
    try:
        parameters: dict[str, str] = orjson.loads(vault.open_text(sealed, _context(reference)))
    except Unreadable:
        return None
    return parameters
