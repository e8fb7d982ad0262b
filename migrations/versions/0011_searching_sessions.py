"""Searching sessions, and ending many of them

Revision: 0011
Follows: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

AHEAD = (("ix_sessions_address", "sessions", ["address"], ""),)


def upgrade() -> None:
    op.create_index("ix_sessions_address", "sessions", ["address"], if_not_exists=True)
    op.create_table(
        "bulk_sign_outs",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("filter", sa.Text(), nullable=False),
        sa.Column("reason", sa.String(length=255), nullable=False),
        sa.Column("actor", sa.String(length=16), nullable=False),
        sa.Column("actor_id", sa.String(length=64), nullable=True),
        sa.Column("rights", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("matched", sa.Integer(), nullable=False),
        sa.Column("ended", sa.Integer(), nullable=False),
        sa.Column("position", sa.String(length=40), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("worked_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bulk_sign_outs")),
    )
    op.create_index("ix_bulk_sign_outs_finished_at", "bulk_sign_outs", ["finished_at"])
    op.create_table(
        "bulk_sessions",
        sa.Column("order_id", sa.String(length=40), nullable=False),
        sa.Column("session_id", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(
            ["order_id"],
            ["bulk_sign_outs.id"],
            name=op.f("fk_bulk_sessions_order_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("order_id", "session_id", name=op.f("pk_bulk_sessions")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("bulk_sessions")
    op.drop_table("bulk_sign_outs")
    op.drop_index("ix_sessions_address", "sessions")
