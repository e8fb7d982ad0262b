"""Searching sessions, and ending many of them

Revision: 0008
Follows: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_RUNNING = sa.text("ended_at IS NULL")


def upgrade() -> None:
    op.create_index(
        "ix_sessions_running",
        "sessions",
        [
            "last_active_at", "id", "ended_at", "created_at", "idle_at", "expires_at", "user_id",
            "address", "asn", "country", "device_type", "acr", "origin",
        ],
        sqlite_where=_RUNNING,
        postgresql_where=_RUNNING,
    )  # fmt: skip
    op.create_index("ix_sessions_created", "sessions", ["created_at", "id"])
    op.create_index("ix_sessions_address", "sessions", ["address"])
    op.drop_index("ix_authorizations_session", "authorizations")
    op.create_index("ix_authorizations_session", "authorizations", ["session_id", "client_id"])


def downgrade() -> None:
    op.drop_index("ix_authorizations_session", "authorizations")
    op.create_index("ix_authorizations_session", "authorizations", ["session_id"])
    op.drop_index("ix_sessions_address", "sessions")
    op.drop_index("ix_sessions_created", "sessions")
    op.drop_index("ix_sessions_running", "sessions")
