"""A search and a report may be kept under one name: a name is given once for each kind

Revision: 0023
Follows: 0022
"""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

_TABLE = "stored_queries"


def upgrade() -> None:
    with op.batch_alter_table(_TABLE) as table:
        table.drop_constraint("uq_stored_queries_name", type_="unique")
        # Its index is made under the table's lock: over 200 rows at most.
        table.create_unique_constraint("uq_stored_queries_kind_name", ["kind", "name"])


def downgrade() -> None:
    # Of several under one name the oldest id stays.
    op.execute(
        sa.text(
            "DELETE FROM stored_queries WHERE EXISTS (SELECT 1 FROM stored_queries AS other "
            "WHERE other.name = stored_queries.name AND other.id < stored_queries.id)"
        )
    )
    with op.batch_alter_table(_TABLE) as table:
        table.drop_constraint("uq_stored_queries_kind_name", type_="unique")
        table.create_unique_constraint("uq_stored_queries_name", ["name"])
