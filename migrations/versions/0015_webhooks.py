"""Receivers of the audit log: webhooks, and how far it was handed on

Revision: 0015
Follows: 0014
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_IS_OF_WEBHOOK = "channel = 'webhook'"
_COLUMNS = ["receiver", "created_at"]
_ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
AHEAD = (("ix_deliveries_webhook", "deliveries", _COLUMNS, _IS_OF_WEBHOOK),)


def upgrade() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("types", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("previous_secret", sa.Text(), nullable=True),
        sa.Column("previous_until", sa.BigInteger(), nullable=True),
        sa.Column("position", _ROW_NUMBER, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("disabled_at", sa.BigInteger(), nullable=True),
        sa.Column("disabled_reason", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
    )
    op.create_table(
        "forwards",
        sa.Column("name", sa.String(length=16), nullable=False),
        sa.Column("position", _ROW_NUMBER, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_forwards")),
    )
    op.create_index(
        "ix_deliveries_webhook",
        "deliveries",
        _COLUMNS,
        sqlite_where=sa.text(_IS_OF_WEBHOOK),
        postgresql_where=sa.text(_IS_OF_WEBHOOK),
        if_not_exists=True,
    )


def downgrade() -> None:
    op.drop_index("ix_deliveries_webhook", table_name="deliveries")
    op.drop_table("forwards")
    op.drop_table("webhooks")
