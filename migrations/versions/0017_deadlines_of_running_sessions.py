"""The deadlines of running sessions have indexes of their own

Revision: 0017
Follows: 0016
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_RUNNING = sa.text("ended_at IS NULL")
_ENDED = sa.text("ended_at IS NOT NULL")


def upgrade() -> None:
    for column in ("expires_at", "idle_at"):
        op.drop_index(f"ix_sessions_{column}", table_name="sessions")
        op.create_index(
            f"ix_sessions_{column}",
            "sessions",
            [column],
            sqlite_where=_RUNNING,
            postgresql_where=_RUNNING,
        )
    op.create_index(
        "ix_sessions_ended_at",
        "sessions",
        ["ended_at", "id"],
        sqlite_where=_ENDED,
        postgresql_where=_ENDED,
    )


def downgrade() -> None:
    op.drop_index("ix_sessions_ended_at", table_name="sessions")
    for column in ("idle_at", "expires_at"):
        op.drop_index(f"ix_sessions_{column}", table_name="sessions")
        op.create_index(f"ix_sessions_{column}", "sessions", ["ended_at", column])
