"""A session knows which language and theme its person chose

Revision: 0024
Follows: 0023
"""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sessions", sa.Column("language", sa.String(length=8), nullable=True))
    op.add_column("sessions", sa.Column("theme", sa.String(length=8), nullable=True))


def downgrade() -> None:
    for column in ("theme", "language"):
        op.drop_column("sessions", column)
