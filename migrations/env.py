"""Alembic's environment: the schema is that of the models; the connection is handed in."""

from alembic import context

import idp.admin.model
import idp.events.model
import idp.notify.model
import idp.oauth.model
import idp.sessions.model
import idp.users.credentials
import idp.users.model
from idp.storage.columns import Base

_TABLES = (
    idp.admin.model,
    idp.events.model,
    idp.notify.model,
    idp.oauth.model,
    idp.sessions.model,
    idp.users.credentials,
    idp.users.model,
)


def run() -> None:
    connection = context.config.attributes["connection"]
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=True,
        transaction_per_migration=False,
        compare_type=False,
    )
    context.run_migrations()


run()
