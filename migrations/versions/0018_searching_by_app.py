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

_ENDED = "ended_at IS NOT NULL"
_LOOKED_AT = ["address", "asn", "country", "device_type", "acr", "origin"]
_OF_CREATED = ["created_at", "id", *_LOOKED_AT]
_OF_ENDED = ["ended_at", "id", "created_at", "last_active_at", *_LOOKED_AT, "end_reason"]
_OF_CLIENT = ["client_id", "session_id"]
AHEAD = (
    ("ix_authorizations_client", "authorizations", _OF_CLIENT, ""),
    ("ix_sessions_created", "sessions", _OF_CREATED, ""),
    ("ix_sessions_ended_at", "sessions", _OF_ENDED, _ENDED),
)


def upgrade() -> None:
    op.create_index("ix_authorizations_client", "authorizations", _OF_CLIENT, if_not_exists=True)
    op.create_index("ix_sessions_created", "sessions", _OF_CREATED, if_not_exists=True)
    op.create_index(
        "ix_sessions_ended_at",
        "sessions",
        _OF_ENDED,
        sqlite_where=sa.text(_ENDED),
        postgresql_where=sa.text(_ENDED),
        if_not_exists=True,
    )


def downgrade() -> None:
    op.drop_index("ix_sessions_ended_at", table_name="sessions")
    op.drop_index("ix_sessions_created", table_name="sessions")
    op.drop_index("ix_authorizations_client", table_name="authorizations")
