"""Notable events by time

Revision: 0009
Follows: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_NOTABLE = sa.text(
    "type IN ('client.changed', 'client.created', 'factor.suspended', 'keys.rotated', "
    "'logout.given_up', 'mail.given_up', 'remember.reuse_detected', 'rule.changed', "
    "'session.disowned', 'token.reuse_detected')"
)


def upgrade() -> None:
    op.create_index(
        "ix_events_notable",
        "events",
        ["at"],
        unique=False,
        sqlite_where=_NOTABLE,
        postgresql_where=_NOTABLE,
    )


def downgrade() -> None:
    op.drop_index("ix_events_notable", table_name="events")
