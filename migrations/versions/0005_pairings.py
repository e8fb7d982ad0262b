"""Pairings of two devices

Revision: 0005
Follows: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "pairings",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("code_hash", sa.String(length=64), nullable=False),
        sa.Column("user_code_hash", sa.String(length=64), nullable=False),
        sa.Column("client_id", sa.String(length=64), nullable=True),
        sa.Column("browser_hash", sa.String(length=64), nullable=True),
        sa.Column("network_hash", sa.String(length=64), nullable=True),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("acr", sa.String(length=16), nullable=True),
        sa.Column("session_id", sa.String(length=40), nullable=True),
        sa.Column("user_id", sa.String(length=40), nullable=True),
        sa.Column("proved_since", sa.BigInteger(), nullable=True),
        sa.Column("contested_at", sa.BigInteger(), nullable=True),
        sa.Column("poll_interval", sa.BigInteger(), nullable=False),
        sa.Column("next_poll_at", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("decided_at", sa.BigInteger(), nullable=True),
        sa.Column("new_session_id", sa.String(length=40), nullable=True),
        sa.Column("authorization_id", sa.String(length=40), nullable=True),
        sa.ForeignKeyConstraint(
            ["client_id"], ["clients.id"], name=op.f("fk_pairings_client_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_pairings_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pairings")),
        sa.UniqueConstraint("code_hash", name=op.f("uq_pairings_code_hash")),
        sa.UniqueConstraint("user_code_hash", name=op.f("uq_pairings_user_code_hash")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("pairings") as batch_op:
        batch_op.create_index("ix_pairings_user", ["user_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_pairings_expires_at"), ["expires_at"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("pairings") as batch_op:
        batch_op.drop_index(batch_op.f("ix_pairings_expires_at"))
        batch_op.drop_index("ix_pairings_user")
    op.drop_table("pairings")
