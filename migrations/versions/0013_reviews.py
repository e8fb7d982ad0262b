"""Changed rules that are being applied to the sessions that run

Revision: 0013
Follows: 0012
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "reviews",
        sa.Column("name", sa.String(length=16), nullable=False),
        sa.Column("after_expires_at", sa.BigInteger(), nullable=False),
        sa.Column("after_id", sa.String(length=40), nullable=False),
        sa.Column("nearer", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )


def downgrade() -> None:
    op.drop_table("reviews")
