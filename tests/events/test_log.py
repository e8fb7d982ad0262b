from collections.abc import Callable

import pytest
from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from idp.events import log
from idp.events.catalogue import ALL, LoginFailed, RuleChanged, SessionStarted
from idp.events.model import EventRow
from idp.storage.unit_of_work import Work
from idp.storage.vault import Vault
from tests.harness.workbench import SECRET, ManualClock


def record(work: Work, count: int) -> None:
    with work.begin() as unit:
        for number in range(count):
            unit.record(
                SessionStarted(
                    user_id="usr_1", ip="192.0.2.1", method="password", acr="aal1",
                    device=f"Chrome on Linux № {number}",
                )
            )  # fmt: skip


def fault(work: Work) -> str | None:
    with work.read() as unit:
        return log.verify(unit)[1]


@pytest.fixture
def chain(work: Work) -> Work:
    """Ten sealed rows."""
    record(work, 10)
    log.seal(work)
    return work


def test_an_event_is_written_with_its_cause_or_not_at_all(work: Work) -> None:
    def failing() -> None:
        with work.begin() as unit:
            unit.record(LoginFailed(user_id="usr_1"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    with work.read() as unit:
        assert unit.orm.scalars(select(EventRow)).all() == []


def test_an_event_becomes_the_columns_and_data_of_its_row(work: Work, clock: ManualClock) -> None:
    event = RuleChanged(
        actor="admin", actor_id="usr_9", user_id="usr_1", kind="limits", applies_to={}, before=None,
        after={"maximum": 3, "name": "ü"},
    )  # fmt: skip
    with work.begin() as unit:
        unit.record(event)
    with work.read() as unit:
        row = unit.orm.scalars(select(EventRow)).one()
        assert (row.event_id, row.type, row.at) == (event.event_id, "rule.changed", clock.now())
        assert (row.actor, row.actor_id, row.user_id) == ("admin", "usr_9", "usr_1")
        assert row.data == {
            "kind": "limits",
            "applies_to": {},
            "before": None,
            "after": {"maximum": 3, "name": "ü"},
        }
        assert (row.position, row.seal) == (None, None)


def test_the_hot_path_writes_the_same_row(work: Work, clock: ManualClock) -> None:
    event = LoginFailed(user_id="usr_1", ip="192.0.2.1", reason="wrong_password")
    assert work.database.try_apply([log.hot_write(event, clock.now())])
    again = LoginFailed(user_id="usr_1", ip="192.0.2.1", reason="wrong_password")
    with work.begin() as unit:
        unit.record(again)
    with work.read() as unit:
        hot, plain = unit.connection.execute(select(EventRow.__table__)).mappings().all()
    differing = {"id", "event_id"}
    assert {k: v for k, v in hot.items() if k not in differing} == {
        k: v for k, v in plain.items() if k not in differing
    }
    assert log.seal(work) == 2
    assert fault(work) is None


def test_the_types_of_events_differ() -> None:
    assert len({event.type for event in ALL}) == len(ALL)
    assert all(event.__doc__ for event in ALL)


def test_sealing_chains_every_row_in_order(work: Work) -> None:
    record(work, 3)
    assert log.seal(work) == 3
    record(work, 2)
    assert log.seal(work) == 2
    assert log.seal(work) == 0
    with work.read() as unit:
        rows = unit.orm.scalars(select(EventRow).order_by(EventRow.id)).all()
        assert [row.position for row in rows] == [1, 2, 3, 4, 5]
        assert len({row.seal for row in rows}) == 5
        assert log.verify(unit) == (5, None)
        assert log.head(unit) == (5, rows[-1].seal)


def test_sealing_goes_on_past_a_batch(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "BATCH", 4)
    monkeypatch.setattr(log.seal_pending, "__kwdefaults__", {"batch": 4})
    record(work, 9)
    assert log.seal(work) == 9
    with work.read() as unit:
        assert log.verify(unit) == (9, None)


def test_an_empty_log_holds(work: Work) -> None:
    assert log.seal(work) == 0
    with work.read() as unit:
        assert log.verify(unit) == (0, None)
        assert log.head(unit) == (0, "0" * 64)


Tampering = Callable[[Work], None]


def altering(**values: object) -> Tampering:
    def tamper(work: Work) -> None:
        with work.begin() as unit:
            unit.connection.execute(update(EventRow).where(EventRow.id == 5).values(**values))

    return tamper


def removing(work: Work) -> None:
    with work.begin() as unit:
        unit.connection.execute(delete(EventRow).where(EventRow.id == 5))


def removing_and_closing_the_gap(work: Work) -> None:
    removing(work)
    with work.begin() as unit:
        for row in unit.orm.scalars(select(EventRow).where(EventRow.id > 5).order_by(EventRow.id)):
            assert row.position is not None
            row.position -= 1
            unit.flush()


def removing_the_first(work: Work) -> None:
    with work.begin() as unit:
        unit.connection.execute(delete(EventRow).where(EventRow.id == 1))


def unsealing_in_the_middle(work: Work) -> None:
    altering(position=None, seal=None, reason="nothing happened")(work)
    log.seal(work)


def swapping(work: Work) -> None:
    with work.begin() as unit:
        fifth, sixth = unit.orm.scalars(
            select(EventRow).where(EventRow.id.in_([5, 6])).order_by(EventRow.id)
        )
        fifth.position, sixth.position = None, 5
        unit.flush()
        fifth.position = 6
        fifth.seal, sixth.seal = sixth.seal, fifth.seal


def inserting_with_a_seal_of_another_key(work: Work) -> None:
    """A row at the end, sealed by somebody who does not have the deployment's secret."""
    with work.begin() as unit:
        position, previous = log.head(unit)
        values = log.values(LoginFailed(user_id="usr_1"), unit.now)
        unit.connection.execute(insert(EventRow), values)
        row = unit.connection.execute(log._ROWS.where(EventRow.position.is_(None))).one()
        seal = log._seal(Vault("some other secret, just as long as ours"), previous, 11, row)
        unit.connection.execute(
            update(EventRow).where(EventRow.id == row.id).values(position=position + 1, seal=seal)
        )


@pytest.mark.parametrize(
    ("tamper", "place"),
    [
        (altering(reason="nothing happened"), 5),
        (altering(user_id="usr_2"), 5),
        (altering(at=0), 5),
        (altering(ip=None), 5),
        (altering(actor="admin"), 5),
        (altering(type="session.ended"), 5),
        (altering(data={"method": "passkey"}), 5),
        (altering(seal="0" * 64), 5),
        (altering(event_id="evt_other"), 5),
        (removing, 5),
        (removing_and_closing_the_gap, 5),
        (removing_the_first, 1),
        (unsealing_in_the_middle, 5),
        (swapping, 5),
        (inserting_with_a_seal_of_another_key, 11),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_change_to_a_sealed_row_is_found(chain: Work, tamper: Tampering, place: int) -> None:
    assert fault(chain) is None
    tamper(chain)
    found = fault(chain)
    assert found is not None
    assert f"position {place} " in found


def test_a_row_of_another_history_is_found(chain: Work) -> None:
    """A row that was once sealed at this very place, with our key, but after other rows."""
    with chain.begin() as unit:
        old = unit.connection.execute(
            select(EventRow.__table__).where(EventRow.position == 9)
        ).one()
        unit.connection.execute(delete(EventRow).where(EventRow.id > 7))
    record(chain, 3)
    log.seal(chain)
    assert fault(chain) is None
    with chain.begin() as unit:
        unit.connection.execute(
            update(EventRow.__table__)
            .where(EventRow.position == 9)
            .values(**{key: value for key, value in old._mapping.items() if key != "id"})
        )
    assert "position 9 " in str(fault(chain))


def test_rows_cut_off_the_end_are_found_by_whoever_kept_the_head(chain: Work) -> None:
    with chain.read() as unit:
        kept = log.head(unit)
    with chain.begin() as unit:
        unit.connection.execute(delete(EventRow).where(EventRow.id > 7))
    assert fault(chain) is None, "the database alone cannot show this"
    with chain.read() as unit:
        assert log.head(unit) != kept


def test_the_newest_rows_can_be_verified_alone(chain: Work) -> None:
    with chain.read() as unit:
        assert log.verify(unit, newest=4) == (4, None)
        assert log.verify(unit, newest=99) == (10, None)
    altering(reason="changed")(chain)
    with chain.read() as unit:
        assert log.verify(unit, newest=4) == (4, None)
        assert log.verify(unit, newest=6)[1] is not None


def test_the_chain_holds_across_a_change_of_the_secret(chain: Work) -> None:
    newer = "a newer secret for tests, 32 characters or more"
    chain.vault = Vault(newer, (SECRET,))
    record(chain, 3)
    log.seal(chain)
    with chain.read() as unit:
        assert log.verify(unit) == (13, None)
    chain.vault = Vault(newer)
    assert fault(chain) is not None, "without the older key its rows cannot be vouched for"


def test_of_two_that_seal_at_once_one_fails_and_the_chain_holds(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other node seals, and more is written, between our reading the head and the rows."""
    record(work, 3)
    whole = log.head

    def slow_head(unit):  # type: ignore[no-untyped-def]
        found = whole(unit)
        if not work.database.is_sqlite:
            monkeypatch.setattr(log, "head", whole)
            log.seal(work)
            record(work, 2)
        return found

    monkeypatch.setattr(log, "head", slow_head)
    if work.database.is_sqlite:  # one writer: it cannot happen there
        log.seal(work)
    else:
        with pytest.raises(IntegrityError):
            log.seal(work)
    log.seal(work)
    assert fault(work) is None
