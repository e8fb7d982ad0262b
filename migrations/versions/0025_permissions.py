"""A permission that no role gives any more is known as one: it is nobody's, not everybody's

Revision: 0025
Follows: 0024
"""

import json

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    permissions = op.create_table(
        "permissions",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_permissions")),
        sqlite_with_rowid=False,
    )
    # One batch: a deployment has tens of roles.
    given = op.get_bind().scalars(sa.text("SELECT permissions FROM roles"))
    names = {name for one in given for name in (json.loads(one) if isinstance(one, str) else one)}
    op.bulk_insert(permissions, [{"name": name} for name in sorted(names)])


def downgrade() -> None:
    op.drop_table("permissions")
