"""Sessions that are kept, and those on a trusted device

Revision: 0010
Follows: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Nothing was ever written into it.
    op.alter_column("sessions", "trusted", new_column_name="kept")
    op.add_column("sessions", sa.Column("trusted_device_id", sa.String(length=40), nullable=True))


def downgrade() -> None:
    op.drop_column("sessions", "trusted_device_id")
    op.alter_column("sessions", "kept", new_column_name="trusted")
