"""A `Work` on an empty database, without the rest of the application, and rows to work on."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import insert, inspect

from idp import ids
from idp.clock import DAY, HOUR, SECOND, Clock, Duration, Instant
from idp.events import log
from idp.events.catalogue import SessionEnded
from idp.oauth.model import Authorization, Client
from idp.sessions.model import Session, SessionEpoch
from idp.settings import Settings
from idp.storage.columns import Base
from idp.storage.database import Database
from idp.storage.unit_of_work import Work
from idp.storage.vault import Vault
from idp.users.model import User

SECRET = "a secret for tests, 32 characters or more"
NOON: Instant = 1_800_000_000 * SECOND
LOOPBACK: dict[str, Any] = {"allow_networks": ["127.0.0.0/8", "::1/128"], "allow_http": True}


class ManualClock:
    """Stands still until it is moved."""

    def __init__(self, now: Instant = NOON) -> None:
        self.instant = now

    def now(self) -> Instant:
        return self.instant

    def advance(self, duration: Duration) -> None:
        self.instant += duration


def make_work(url: str, clock: Clock, **settings: Any) -> Work:
    """Tables made, nothing subscribed; close it with `work.database.close()`."""
    made = Settings(
        secret_key=SECRET,
        database_url=url,
        url="http://localhost:8000",
        **({"outbound": LOOPBACK} | settings),
    )
    database = Database(url)
    with database.write() as connection:
        if not inspect(connection).has_table("deliveries"):
            Base.metadata.create_all(connection)
            # As the migrations do: sessions are begun in it.
            connection.execute(
                insert(SessionEpoch).values(id=1, number=0, began_at=0, actor="system")
            )
    return Work(
        settings=made, database=database, vault=Vault(SECRET), clock=clock, write_event=log.write
    )


def add_user(work: Work, user_id: str | None = None) -> str:
    user_id = user_id or ids.new("usr")
    with work.begin() as unit:
        unit.orm.add(
            User(
                id=user_id, username=user_id, status="active", created_at=unit.now,
                updated_at=unit.now,
            )
        )  # fmt: skip
    return user_id


def add_session(work: Work, user_id: str, session_id: str | None = None) -> str:
    session_id = session_id or ids.new("ses")
    with work.begin() as unit:
        unit.orm.add(
            Session(
                id=session_id, user_id=user_id, secret_hash=ids.digest(session_id),
                secret_changed_at=unit.now, acr="aal1", auth_time=unit.now, created_at=unit.now,
                last_active_at=unit.now, idle_timeout=HOUR, idle_at=unit.now + HOUR,
                expires_at=unit.now + DAY, details="", device_type="desktop",
            )
        )  # fmt: skip
    return session_id


def add_clients(work: Work, uris: Iterable[str | None], *, alg: str = "ES256") -> list[str]:
    """One client for each back-channel logout URI; gives their ids in order."""
    made: list[str] = []
    with work.begin() as unit:
        for number, uri in enumerate(uris):
            client_id = f"app-{number}-{ids.new('cli')[-6:]}"
            unit.orm.add(
                Client(
                    id=client_id, name=f"App {number}", token_endpoint_auth_method="none",
                    grant_types=["authorization_code"], redirect_uris=[], scope="openid",
                    backchannel_logout_uri=uri, id_token_signed_response_alg=alg,
                    created_at=unit.now,
                )
            )  # fmt: skip
            made.append(client_id)
    return made


def authorize(
    work: Work, session_id: str, user_id: str, client_ids: Sequence[str], *, redeemed: str = "yes"
) -> None:
    """A grant of each client in the session; `redeemed` "no" leaves its code unspent."""
    with work.begin() as unit:
        for client_id in client_ids:
            unit.orm.add(
                Authorization(
                    id=ids.new("azn"), session_id=session_id, user_id=user_id,
                    client_id=client_id, scope="openid", auth_time=unit.now, acr="aal1",
                    amr=["pwd"], created_at=unit.now, last_used_at=unit.now,
                    code_redeemed_at=unit.now if redeemed == "yes" else None,
                )
            )  # fmt: skip


def end_session(work: Work, session_id: str, user_id: str) -> SessionEnded:
    """Records the end as `sessions.lifecycle.end` does, with the wake-up the application wires."""
    event = SessionEnded(
        actor="user", actor_id=user_id, user_id=user_id, session_id=session_id, reason="signed_out"
    )
    with work.begin() as unit:
        unit.record(event)
    return event
