"""Everybody's sessions end at once

Revision: 0016
Follows: 0015
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    epochs = op.create_table(
        "session_epochs",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("began_at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=16), nullable=False),
        sa.Column("actor_id", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_session_epochs")),
    )
    op.bulk_insert(epochs, [{"id": 1, "number": 0, "began_at": 0, "actor": "system"}])
    for table in ("sessions", "remembered_browsers"):
        op.add_column(
            table, sa.Column("epoch", sa.Integer(), server_default=sa.text("0"), nullable=False)
        )
    op.add_column("bulk_sign_outs", sa.Column("epoch", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("bulk_sign_outs", "epoch")
    for table in ("remembered_browsers", "sessions"):
        op.drop_column(table, "epoch")
    op.drop_table("session_epochs")
