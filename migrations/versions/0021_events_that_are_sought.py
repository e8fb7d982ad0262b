"""What pages ask of one person's log is found by an index

Revision: 0021
Follows: 0020
"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_IS_SOUGHT = (
    "type IN ('consent.revoked', 'credential.changed', 'device.forgotten', "
    "'remember.reuse_detected', 'session.disowned', 'token.reuse_detected', 'user.secured', "
    "'user.signed_out_everywhere')"
)
_COLUMNS = ["user_id", "type", "id"]
AHEAD = (("ix_events_sought", "events", _COLUMNS, _IS_SOUGHT),)


def upgrade() -> None:
    op.create_index(
        "ix_events_sought",
        "events",
        _COLUMNS,
        sqlite_where=sa.text(_IS_SOUGHT),
        postgresql_where=sa.text(_IS_SOUGHT),
        if_not_exists=True,
    )


def downgrade() -> None:
    op.drop_index("ix_events_sought", table_name="events")
