"""Counts for charts

Revision: 0006
Follows: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tallies",
        sa.Column("hour", sa.BigInteger(), nullable=False),
        sa.Column("measure", sa.String(length=24), nullable=False),
        sa.Column("label", sa.String(length=64), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("hour", "measure", "label", name=op.f("pk_tallies")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("tallies")
