"""A permission that no role gives any more is known as one: it is nobody's, not everybody's

Revision: 0025
Follows: 0024
"""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "former_permissions",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_former_permissions")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("former_permissions")
