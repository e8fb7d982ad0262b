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

_IS_SOUGHT = sa.text(
    "type IN ('consent.revoked', 'credential.changed', 'device.forgotten', "
    "'remember.reuse_detected', 'session.disowned', 'token.reuse_detected', 'user.secured', "
    "'user.signed_out_everywhere')"
)


def upgrade() -> None:
    op.create_index(
        "ix_events_sought",
        "events",
        ["user_id", "type", "id"],
        sqlite_where=_IS_SOUGHT,
        postgresql_where=_IS_SOUGHT,
    )


def downgrade() -> None:
    op.drop_index("ix_events_sought", table_name="events")
