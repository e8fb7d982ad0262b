"""The management API

Revision: 0004
Follows: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Not in batch: SQLite would copy the table and drop the old one, and what hangs on it.
    op.add_column(
        "clients", sa.Column("management", sa.Integer(), nullable=False, server_default="0")
    )
    op.create_table(
        "kept_answers",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("caller", sa.String(length=64), nullable=False),
        sa.Column("request", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_kept_answers")),
    )
    op.create_index("ix_kept_answers_caller", "kept_answers", ["caller"])
    op.create_index("ix_kept_answers_expires_at", "kept_answers", ["expires_at"])
    _collate("C")


def downgrade() -> None:
    _collate("default")
    op.drop_table("kept_answers")
    op.drop_column("clients", "management")


def _collate(collation: str) -> None:
    """Names are found by their beginnings, which are ranges in the order of bytes only."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            f'ALTER TABLE user_identifiers ALTER COLUMN key TYPE VARCHAR(320) COLLATE "{collation}"'
        )
