"""Whom rules hold for, and where sessions are

Revision: 0003
Follows: 0002
"""

import hashlib
import json

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_RULES = sa.table(
    "rules",
    sa.column("id", sa.String),
    sa.column("kind", sa.String),
    sa.column("role", sa.String),
    sa.column("applies_to", sa.Text),
)


def upgrade() -> None:
    op.add_column("sessions", sa.Column("address", sa.String(length=32), nullable=True))
    op.add_column("sessions", sa.Column("asn", sa.BigInteger(), nullable=True))
    op.add_column("rules", sa.Column("applies_to", sa.Text(), nullable=False, server_default="{}"))
    rows = op.get_bind().execute(sa.select(_RULES.c.id, _RULES.c.kind, _RULES.c.role)).all()
    for rule_id, kind, role in rows:
        applies_to = _text({"role": role} if role is not None else {})
        _rewrite(rule_id, {"id": _id(f"{kind} {applies_to}"), "applies_to": applies_to})
    with op.batch_alter_table("rules") as batch_op:
        batch_op.drop_column("role")
        batch_op.alter_column("applies_to", server_default=None)


def downgrade() -> None:
    op.add_column("rules", sa.Column("role", sa.String(length=64), nullable=True))
    rows = op.get_bind().execute(sa.select(_RULES.c.id, _RULES.c.kind, _RULES.c.applies_to)).all()
    for rule_id, kind, text in rows:
        applies_to = json.loads(text)
        if set(applies_to) - {"role"}:
            # The older version would take it for a rule for everybody.
            op.get_bind().execute(sa.delete(_RULES).where(_RULES.c.id == rule_id))
            continue
        role = applies_to.get("role")
        _rewrite(rule_id, {"id": _id(f"{kind} {role or ''}"), "role": role})
    # Not in batch: SQLite would copy the tables and drop the old ones, and what hangs on them.
    op.drop_column("rules", "applies_to")
    op.drop_column("sessions", "asn")
    op.drop_column("sessions", "address")


def _rewrite(rule_id: str, values: dict[str, str | None]) -> None:
    op.get_bind().execute(sa.update(_RULES).where(_RULES.c.id == rule_id).values(values))


def _text(applies_to: dict[str, str]) -> str:
    return json.dumps(applies_to, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _id(text: str) -> str:
    return "rul_" + hashlib.sha256(text.encode()).hexdigest()[:26]
