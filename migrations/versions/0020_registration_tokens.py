"""Registration access tokens are replaced as refresh tokens are

Revision: 0020
Follows: 0019
"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("clients", sa.Column("unseen_registration_token", sa.Text(), nullable=True))
    op.add_column("clients", sa.Column("registration_rotated_at", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("clients") as clients:
        clients.drop_column("registration_rotated_at")
        clients.drop_column("unseen_registration_token")
