"""The signing keys over the management API: read, and rotated."""

from sqlalchemy import select

from idp.admin.operation import Call, Operation
from idp.admin.schemas import Because, Model, Moment, moment, moment_or_none
from idp.oauth import keys
from idp.oauth.model import SigningKey


class Key(Model):
    """A signing key: next (published), active (signs), or retired."""

    kid: str
    alg: str
    state: str
    created_at: Moment
    activated_at: Moment | None
    retired_at: Moment | None


class Keys(Model):
    """Every signing key, the oldest first."""

    items: list[Key]


def list_keys(call: Call, _: None) -> Keys:
    """List the signing keys; never a private one."""
    return _keys(call)


def rotate_keys(call: Call, _: Because) -> Keys:
    """Sign with the next keys from now on; tokens signed by the old ones stay valid."""
    keys.rotate(call.unit, actor=call.actor.kind, actor_id=call.actor.id)
    call.unit.flush()
    call.unit.after_commit(call.provider.keyring.reload)
    return _keys(call)


def _keys(call: Call) -> Keys:
    rows = call.unit.orm.scalars(select(SigningKey).order_by(SigningKey.created_at, SigningKey.kid))
    return Keys(
        items=[
            Key(
                kid=row.kid,
                alg=row.alg,
                state=row.state,
                created_at=moment(row.created_at),
                activated_at=moment_or_none(row.activated_at),
                retired_at=moment_or_none(row.retired_at),
            )
            for row in rows
        ]
    )


OPERATIONS = (
    Operation(method="GET", path="/keys", scope="keys:read", carry_out=list_keys, gives=Keys),
    Operation(
        method="POST", path="/keys/rotate", scope="keys:rotate", carry_out=rotate_keys,
        takes=Because, gives=Keys, proof="fresh", repeat="keyed",
    ),
)  # fmt: skip
