"""Copied registration tokens and requests of other devices that nobody made are incidents

Revision: 0022
Follows: 0021
"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

_BEFORE = (
    "type IN ('client.changed', 'client.created', 'factor.suspended', 'keys.rotated', "
    "'logout.given_up', 'mail.given_up', 'remember.reuse_detected', 'rule.changed', "
    "'session.disowned', 'token.reuse_detected')"
)
_IS_NOTABLE = (
    "type IN ('client.changed', 'client.created', 'factor.suspended', 'keys.rotated', "
    "'logout.given_up', 'mail.given_up', 'pairing.reported', 'registration.reuse_detected', "
    "'remember.reuse_detected', 'rule.changed', 'session.disowned', 'token.reuse_detected')"
)
AHEAD = (("ix_events_reported", "events", ["at"], _IS_NOTABLE),)


def upgrade() -> None:
    op.create_index(
        "ix_events_reported",
        "events",
        ["at"],
        sqlite_where=sa.text(_IS_NOTABLE),
        postgresql_where=sa.text(_IS_NOTABLE),
        if_not_exists=True,
    )
    op.drop_index("ix_events_notable", table_name="events")


def downgrade() -> None:
    before = sa.text(_BEFORE)
    op.create_index(
        "ix_events_notable", "events", ["at"], sqlite_where=before, postgresql_where=before
    )
    op.drop_index("ix_events_reported", table_name="events")
