"""Searches among running sessions are answered from an index

Revision: 0017
Follows: 0016
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_RUNNING = "ended_at IS NULL"
_COLUMNS = [
    "last_active_at", "id", "ended_at", "created_at", "idle_at", "expires_at", "user_id",
    "address", "asn", "country", "device_type", "acr", "origin", "epoch",
]  # fmt: skip
AHEAD = (("ix_sessions_running", "sessions", _COLUMNS, _RUNNING),)


def upgrade() -> None:
    op.create_index(
        "ix_sessions_running",
        "sessions",
        _COLUMNS,
        sqlite_where=sa.text(_RUNNING),
        postgresql_where=sa.text(_RUNNING),
        if_not_exists=True,
    )


def downgrade() -> None:
    op.drop_index("ix_sessions_running", table_name="sessions")
