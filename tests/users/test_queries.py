import threading

import pytest
from sqlalchemy import func, select, text

from idp.errors import Refused
from idp.events.actor import SYSTEM, Actor
from idp.events.model import EventRow
from idp.policy import management
from idp.storage.unit_of_work import UnitOfWork, Work
from idp.users import queries, roles
from idp.users.model import User, UserIdentifier
from tests.harness.provider import Idp

ADMIN = Actor("admin", "cli")


def events(work: Work) -> list[tuple[str, str, str | None]]:
    with work.read() as unit:
        rows = unit.orm.scalars(select(EventRow).order_by(EventRow.id))
        return [(row.type, row.actor, row.user_id) for row in rows]


def create(work: Work, username: str, email: str | None = None, **more: object) -> str:
    with work.begin() as unit:
        return queries.create_user(unit, username=username, email=email, **more).id  # type: ignore[arg-type]


def found(unit: UnitOfWork, user_id: str) -> User:
    user = queries.by_id(unit, user_id)
    assert user is not None
    return user


@pytest.mark.attack("BF-04")
@pytest.mark.parametrize("typed", ["Anna", "anna", " ANNA ", "Ａnna", "Anna@Example.com"])
def test_a_user_is_found_by_every_spelling_of_name_and_address(work: Work, typed: str) -> None:
    user_id = create(work, "Anna", "anna@example.com")
    with work.read() as unit:
        user = queries.by_identifier(unit, typed)
        assert user is not None
        assert user.id == user_id
        assert user.username == "Anna"


@pytest.mark.parametrize("typed", ["", "nobody", "anna+x@example.com", "a\x00b", "x" * 5_000])
def test_a_name_that_leads_nowhere_finds_nobody(work: Work, typed: str) -> None:
    create(work, "anna", "anna@example.com")
    with work.read() as unit:
        assert queries.by_identifier(unit, typed) is None


@pytest.mark.attack("BF-07")
@pytest.mark.parametrize(
    "username, email",
    [
        ("ANNA", None),
        ("Ａnna", "other@example.com"),
        ("other", "ANNA@example.com"),
        ("anna@example.com", "anna@example.com"),
    ],
)
def test_nobody_takes_a_name_or_address_of_another(
    work: Work, username: str, email: str | None
) -> None:
    create(work, "anna", "anna@example.com")
    with pytest.raises(Refused) as refused:
        create(work, username, email)
    assert (refused.value.code, refused.value.status) == ("name_taken", 409)
    with work.read() as unit:
        assert unit.orm.scalar(select(func.count(User.id))) == 1


@pytest.mark.attack("BF-07")
@pytest.mark.parametrize("email", [None, "other@example.com"])
def test_a_user_name_cannot_look_like_somebody_elses_address(work: Work, email: str | None) -> None:
    with pytest.raises(Refused) as refused:
        create(work, "victim@example.com", email)
    assert refused.value.code == "invalid_name"


def test_a_user_name_may_be_the_persons_own_address(work: Work) -> None:
    user_id = create(work, "Anna@example.com", "anna@EXAMPLE.com")
    with work.read() as unit:
        keys = unit.orm.scalars(select(UserIdentifier.key)).all()
        assert keys == ["anna@example.com"]
        user = queries.by_identifier(unit, "anna@example.com")
        assert user is not None
        assert user.id == user_id


@pytest.mark.attack("BF-07")
def test_of_many_who_take_a_name_at_once_one_gets_it(either_idp: Idp) -> None:
    outcomes: list[str] = []
    together = threading.Barrier(8)

    def take() -> None:
        together.wait()
        try:
            create(either_idp.work, "anna", "anna@example.com")
            outcomes.append("created")
        except Refused as refused:
            outcomes.append(refused.code)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["created", *["name_taken"] * 7]


def test_claims_are_kept_sealed(work: Work) -> None:
    claims = {"name": "Anna Meier", "locale": "de-DE"}
    user_id = create(work, "anna", claims=claims)
    with work.read() as unit:
        user = found(unit, user_id)
        assert queries.claims_of(unit, user) == claims
        assert user.locale == "de-DE"
        stored = unit.connection.scalar(text("SELECT claims FROM users"))
        assert "Meier" not in stored


def test_a_user_without_claims_has_none(work: Work) -> None:
    user_id = create(work, "anna")
    with work.read() as unit:
        assert queries.claims_of(unit, found(unit, user_id)) == {}


def test_roles_give_the_union_of_their_permissions(work: Work) -> None:
    with work.begin() as unit:
        queries.define_role(unit, "editor", ["posts:write", "posts:read"])
        queries.define_role(unit, "viewer", ["posts:read", "stats:read"])
    user_id = create(work, "anna", roles=["viewer", "editor"])
    with work.read() as unit:
        user = found(unit, user_id)
        assert user.roles == ["editor", "viewer"]
        assert user.permissions == ["posts:read", "posts:write", "stats:read"]


def test_a_changed_role_reaches_everybody_who_has_it_and_nobody_else(work: Work) -> None:
    with work.begin() as unit:
        # LIKE wildcards in one name must not touch holders of another.
        for name in ("a_b", "axb", "a%"):
            queries.define_role(unit, name, [f"old:{name}"])
    holders = {name: create(work, f"user-{number}", roles=[name]) for number, name in
               enumerate(("a_b", "axb", "a%"))}  # fmt: skip
    with work.begin() as unit:
        queries.define_role(unit, "a_b", ["new"])
    with work.read() as unit:
        assert found(unit, holders["a_b"]).permissions == ["new"]
        assert found(unit, holders["axb"]).permissions == ["old:axb"]
        assert found(unit, holders["a%"]).permissions == ["old:a%"]


def test_an_unknown_role_is_refused(work: Work) -> None:
    user_id = create(work, "anna")
    with work.begin() as unit, pytest.raises(Refused, match="unknown_role"):
        queries.set_roles(unit, found(unit, user_id), ["nothing"], SYSTEM)


@pytest.mark.parametrize(
    "name, permissions",
    [
        ("", []),
        ("a role", []),
        ('a"b', []),
        ("a\\b", []),
        ("rôle", []),
        ("x" * 65, []),
        ("fine", ["a b"]),
        ("fine", [""]),
        ("fine", ["x" * 129]),
        # Scopes with a meaning: a role must not be able to hand these out.
        ("fine", ["openid"]),
        ("fine", ["offline_access"]),
        ("fine", ["sessions"]),
    ],
)
def test_a_role_that_is_not_made_of_scope_tokens_is_refused(
    work: Work, name: str, permissions: list[str]
) -> None:
    with work.begin() as unit, pytest.raises(Refused, match="invalid_role"):
        queries.define_role(unit, name, permissions)


def test_changes_are_recorded_with_who_made_them(work: Work) -> None:
    with work.begin() as unit:
        queries.define_role(unit, "editor", ["posts:write"], ADMIN)
        user = queries.create_user(unit, username="anna", email="a@example.com", actor=ADMIN)
        queries.set_roles(unit, user, ["editor"], ADMIN)
        queries.set_status(unit, user, "disabled", ADMIN)
        queries.set_status(unit, user, "disabled", ADMIN)  # no change, no event
        queries.set_password(unit, user, "$argon2id$…", ADMIN)
        queries.set_email(unit, user, "b@example.com", ADMIN)
        queries.mark_email_verified(unit, user, ADMIN)
        queries.set_claims(unit, user, {"name": "Anna"}, ADMIN)
        queries.delete_user(unit, user, ADMIN)
        user_id = user.id
    assert events(work) == [
        ("rule.changed", "admin", None),
        ("user.created", "admin", user_id),
        ("user.changed", "admin", user_id),
        ("user.changed", "admin", user_id),
        ("credential.changed", "admin", user_id),
        ("user.changed", "admin", user_id),
        ("user.email_changed", "admin", user_id),
        ("user.changed", "admin", user_id),
        ("user.changed", "admin", user_id),
        ("user.deleted", "admin", user_id),
    ]


def test_a_deleted_user_leaves_no_name_behind(work: Work) -> None:
    user_id = create(work, "anna", "anna@example.com")
    with work.begin() as unit:
        queries.delete_user(unit, found(unit, user_id), ADMIN)
    with work.read() as unit:
        assert queries.by_id(unit, user_id) is None
        assert unit.orm.scalar(select(func.count(UserIdentifier.key))) == 0
    assert create(work, "anna", "anna@example.com") != user_id


def test_a_new_address_leads_to_the_user_and_the_old_one_no_longer(work: Work) -> None:
    user_id = create(work, "anna", "old@example.com")
    with work.begin() as unit:
        user = found(unit, user_id)
        queries.mark_email_verified(unit, user, ADMIN)
        queries.set_email(unit, user, "New@example.com", ADMIN)
    with work.read() as unit:
        assert queries.by_identifier(unit, "old@example.com") is None
        renamed = queries.by_identifier(unit, "new@example.com")
        assert renamed is not None
        assert (renamed.email, renamed.email_verified) == ("New@example.com", 0)


def test_the_address_that_is_the_user_name_cannot_be_taken_from_under_it(work: Work) -> None:
    user_id = create(work, "anna@example.com", "anna@example.com")
    with work.begin() as unit, pytest.raises(Refused, match="invalid_name"):
        queries.set_email(unit, found(unit, user_id), "other@example.com", ADMIN)


def test_an_address_of_somebody_else_cannot_become_mine(work: Work) -> None:
    create(work, "anna", "anna@example.com")
    bob = create(work, "bob", "bob@example.com")
    with pytest.raises(Refused, match="name_taken"), work.begin() as unit:
        queries.set_email(unit, found(unit, bob), "ANNA@example.com", ADMIN)
    with work.read() as unit:
        assert found(unit, bob).email == "bob@example.com"


def test_users_are_listed_by_name_a_page_at_a_time(work: Work) -> None:
    for name in ("Cleo", "anna", "Bob"):
        create(work, name, f"{name}@example.com")
    with work.read() as unit:
        assert [user.username for user in queries.listed(unit, limit=2)] == ["anna", "Bob"]
        assert [user.username for user in queries.listed(unit, after="bob")] == ["Cleo"]


def test_a_deployment_begins_with_roles_and_administrators_get_what_is_new(work: Work) -> None:
    with work.begin() as unit:
        roles.ensure(unit)
        queries.define_role(unit, "auditor", ["books:read"])
        queries.define_role(unit, "administrator", ["users:read", "docs:write"])
        anna = queries.create_user(unit, username="anna", roles=["administrator"])
    with work.begin() as unit:
        roles.ensure(unit)
        held = {one.name: one.permissions for one in queries.roles(unit)}
    assert held["administrator"] == sorted({"docs:write", *management.SCOPES})
    assert held["auditor"] == ["books:read"]
    with work.begin() as unit:
        assert queries.by_id(unit, anna.id).permissions == held["administrator"]
        queries.define_role(unit, "administrator", ["docs:write"])
        roles.ensure(unit)
        # Somebody's own role of that name: its holders are no administrators here.
        assert queries.by_id(unit, anna.id).permissions == ["docs:write"]


def test_rights_taken_from_two_roles_at_once_are_all_gone(either_idp: Idp) -> None:
    """Of two who change roles of one person the later knows what the earlier did."""
    work = either_idp.work
    with work.begin() as unit:
        for name in ("a", "b"):
            queries.define_role(unit, name, [f"docs:{name}"])
    user_id = create(work, "anna", roles=["a", "b"])
    begun = threading.Event()

    def change_the_other() -> None:
        begun.set()
        with work.begin() as unit:
            queries.define_role(unit, "b", [])

    other = threading.Thread(target=change_the_other)
    with work.begin() as unit:
        queries.define_role(unit, "a", [])
        unit.flush()
        other.start()
        assert begun.wait(30)
        # It waits for this transaction, or is about to; whichever it is, nothing may be left over.
        other.join(0.3)
        assert other.is_alive()
    other.join(30)
    with work.read() as unit:
        assert found(unit, user_id).permissions == []
