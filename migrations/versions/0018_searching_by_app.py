"""Searches by app, and among ended sessions, are answered from an index

Revision: 0018
Follows: 0017
"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_ENDED = sa.text("ended_at IS NOT NULL")
_LOOKED_AT = ["address", "asn", "country", "device_type", "acr", "origin"]


def upgrade() -> None:
    op.create_index("ix_authorizations_client", "authorizations", ["client_id", "session_id"])
    _index(
        created=["created_at", "id", *_LOOKED_AT],
        ended=["ended_at", "id", "created_at", "last_active_at", *_LOOKED_AT, "end_reason"],
    )


def downgrade() -> None:
    _index(created=["created_at", "id"], ended=["ended_at", "id"])
    op.drop_index("ix_authorizations_client", table_name="authorizations")


def _index(*, created: list[str], ended: list[str]) -> None:
    op.drop_index("ix_sessions_created", table_name="sessions")
    op.create_index("ix_sessions_created", "sessions", created)
    op.drop_index("ix_sessions_ended_at", table_name="sessions")
    op.create_index(
        "ix_sessions_ended_at", "sessions", ended, sqlite_where=_ENDED, postgresql_where=_ENDED
    )
