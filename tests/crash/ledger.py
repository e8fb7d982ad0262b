"""What must stand in the database after everything, next to what clients and receivers saw.

Every fact has its row in the audit log and no row is without its fact; every ended session has told
every app that had tokens in it; nothing that was acknowledged is missing.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from tests.crash.world import World
from tests.harness.deployment import Deployment
from tests.harness.load_clients import claims_of
from tests.harness.receivers import Receiver

Rows = Sequence[Mapping[str, Any]]


def contradictions(
    deployment: Deployment, world: World, receivers: Mapping[str, Receiver]
) -> list[str]:
    """Everything in the database that cannot be true; `receivers` by the id of their app."""
    sessions = deployment.rows("SELECT * FROM sessions")
    authorizations = deployment.rows("SELECT * FROM authorizations")
    return [
        *audit_is_complete(deployment, sessions, authorizations),
        *_nothing_acknowledged_is_missing(world, sessions, authorizations),
        *_deadlines_are_as_defined(sessions),
        *_every_app_was_told(deployment, world, sessions, authorizations, receivers),
        *limits_held(
            deployment.rows(
                "SELECT user_id, type, at FROM events"
                " WHERE type IN ('session.created', 'session.ended') ORDER BY id"
            ),
            {world.people[name]: n for name, n in world.limits.items()},
        ),
    ]


def audit_is_complete(deployment: Deployment, sessions: Rows, authorizations: Rows) -> list[str]:
    """I4: exactly one row for each fact, none for what never was, and the chain holds."""
    counted: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row in deployment.rows("SELECT type, session_id, data FROM events"):
        about = str(row["session_id"])
        if '"authorization_id":"' in row["data"]:
            about = row["data"].split('"authorization_id":"')[1].split('"')[0]
        counted[row["type"]][about] += 1
    facts = {
        "session.created": Counter(row["id"] for row in sessions),
        "session.ended": Counter(row["id"] for row in sessions if row["ended_at"]),
        "authorization.issued": Counter(row["id"] for row in authorizations),
        "token.issued": Counter(row["id"] for row in authorizations if row["code_redeemed_at"]),
        "authorization.ended": Counter(row["id"] for row in authorizations if row["ended_at"]),
        "token.refreshed": Counter(
            {
                row["id"]: row["refresh_generation"] - 1
                for row in authorizations
                if row["refresh_generation"] > 1
            }
        ),
    }
    wrong = [
        f"I4: {type_} of {about}: {counted[type_][about]} rows for {fact[about]} facts"
        for type_, fact in facts.items()
        for about in (fact | counted[type_])
        if fact[about] != counted[type_][about]
    ]
    count, fault = deployment.verify_chain()
    if fault is not None:
        wrong.append(f"I4: {fault}")
    if count != deployment.scalar("SELECT count(*) FROM events"):
        wrong.append("I4: not every event is in the chain")
    return wrong


def _nothing_acknowledged_is_missing(
    world: World, sessions: Rows, authorizations: Rows
) -> list[str]:
    """I1, I6: sessions and grants that were acknowledged are there, and ended ones ended."""
    by_secret = {f"session:{row['previous_secret_hash']}": row for row in sessions}
    by_secret |= {f"session:{row['secret_hash']}": row for row in sessions}
    by_id = {row["id"]: row for row in sessions}
    by_code = {f"grant:{row['code_hash']}": row for row in authorizations}
    wrong = []
    for op in world.history.ops:
        if op.outcome != "ok":
            continue
        if op.kind == "sign in" and op.facts["session"] not in by_secret:
            wrong.append(f"I6: {op} is not in the database")
        if op.kind == "redeem":
            grant = by_code.get(op.facts["code"])
            if grant is None or not grant["code_redeemed_at"]:
                wrong.append(f"I6: {op} is not in the database")
        if op.kind == "revoke" or op.kind.startswith("end "):
            about = [by_code.get(one) or by_secret.get(one) for one in op.dead]
            about.append(by_id.get(op.facts.get("session")))
            wrong += [
                f"I1: {op}, but {row['id']} runs" for row in about if row and not row["ended_at"]
            ]
    return wrong


def _deadlines_are_as_defined(sessions: Rows) -> list[str]:
    """I6: the idle deadline follows the last activity, the absolute one never moves."""
    absolute = {row["expires_at"] - row["created_at"] for row in sessions}
    wrong = [
        f"I6: the idle deadline of {row['id']} does not follow its last activity"
        for row in sessions
        if row["idle_at"] != row["last_active_at"] + row["idle_timeout"]
    ]
    return wrong + (["I6: absolute deadlines were moved"] if len(absolute) > 1 else [])


def limits_held(events: Rows, limits: Mapping[str, int]) -> list[str]:
    """I7: at no moment a person had more sessions than they may have; `limits` by their id.

    In the order of the log, which is that of who held the person. What it says of when is the moment at
    which a transaction began, and one may have waited for another that began later. The one that gives
    way and the one that takes its place do so in one transaction, and whoever ends a session (which
    nobody holds the person for) may write between the two: a transaction counts where it wrote last.
    """
    wrong = []
    for user_id, most in limits.items():
        theirs = [row for row in events if row["user_id"] == user_id]
        last = {row["at"]: number for number, row in enumerate(theirs)}
        running = 0
        for at, changes in groupby(sorted(theirs, key=lambda row: last[row["at"]]), _at):
            running += sum(1 if row["type"] == "session.created" else -1 for row in changes)
            if running > most:
                wrong.append(f"I7: {user_id} had {running} sessions at {at}, of {most}")
    return wrong


def _at(event: Mapping[str, Any]) -> int:
    at: int = event["at"]
    return at


def _every_app_was_told(
    deployment: Deployment,
    world: World,
    sessions: Rows,
    authorizations: Rows,
    receivers: Mapping[str, Receiver],
) -> list[str]:
    """I5: for each ended session each app with tokens in it, with one `jti`; never for a live one."""
    ended = {row["id"]: row for row in sessions if row["ended_at"]}
    owed = {
        (row["session_id"], row["client_id"])
        for row in authorizations
        if row["session_id"] in ended and row["code_redeemed_at"] and row["client_id"] in receivers
    }
    deliveries = deployment.rows("SELECT id, session_id, receiver, state FROM deliveries")
    counted = Counter((row["session_id"], row["receiver"]) for row in deliveries)
    wrong = [f"I5: {pair} was owed and there is no delivery" for pair in owed - set(counted)]
    wrong += [f"I5: {pair} was not owed, or more than once" for pair in counted - Counter(owed)]
    wrong += [
        f"I5: {dict(row)} is not delivered" for row in deliveries if row["state"] != "delivered"
    ]
    told: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    begun = _ends_begun(world)
    for client_id, receiver in receivers.items():
        for request in receiver.requests:
            claims = claims_of(request.form["logout_token"][0])
            sid = str(claims["sid"])
            told[sid, client_id].add(str(claims["jti"]))
            if claims["aud"] != client_id or sid not in ended:
                wrong.append(f"I5: {client_id} was told of {sid}, which runs")
            elif request.at < begun.get(sid, 0.0):
                wrong.append(f"I5: {client_id} was told of {sid} before anybody ended it")
    ids = {(row["session_id"], row["receiver"]): {row["id"]} for row in deliveries}
    wrong += [f"I5: {pair} was owed and never arrived" for pair in owed - set(told)]
    wrong += [f"I5: {pair} came under several ids" for pair in told if told[pair] != ids.get(pair)]
    # As the apps see it: whoever was given tokens in a session that ended was told.
    held = {(one.session_id, one.app.registered.id) for one in world.grants}
    wrong += [
        f"I5: {pair} was given tokens and not told"
        for pair in held
        if pair[0] in ended and pair[1] in receivers and pair not in told
    ]
    return wrong


def _ends_begun(world: World) -> dict[str, float]:
    """When the first end of each session was sent, by its public id, as far as clients know it."""
    ids = {one.session: one.session_id for one in world.grants}
    begun: dict[str, float] = {}
    for op in world.history.ops:
        for subject in op.may_end:
            for session, session_id in ids.items() if subject.startswith("person:") else ():
                if subject in world.history.lineage(session):
                    begun[session_id] = min(op.invoked, begun.get(session_id, op.invoked))
            if subject in ids:
                one = ids[subject]
                begun[one] = min(op.invoked, begun.get(one, op.invoked))
    return begun
