"""Sessions that went elsewhere, and whose person must prove who they are

Revision: 0012
Follows: 0011
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sessions", sa.Column("relocated_at", sa.BigInteger(), nullable=True))
    op.add_column("sessions", sa.Column("challenged_at", sa.BigInteger(), nullable=True))
    op.add_column("sessions", sa.Column("challenge", sa.String(length=16), nullable=True))
    op.add_column("sessions", sa.Column("challenged_for", sa.String(length=16), nullable=True))


def downgrade() -> None:
    for column in ("challenged_for", "challenge", "challenged_at", "relocated_at"):
        op.drop_column("sessions", column)
