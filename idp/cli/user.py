"""`idp user`: who may sign in."""

import getpass
import secrets
import sys
from typing import Annotated, Any

import typer

from idp.cli.opened import ADMIN, change, look, product
from idp.cli.terminal import AsJson, Confirmed, answer, confirm, fields, moment, table
from idp.errors import Refused
from idp.notify import mailed_links
from idp.sessions import accounts, lifecycle
from idp.settings import Settings
from idp.storage.unit_of_work import UnitOfWork
from idp.users import factors, names, passwords, queries
from idp.users.model import ACTIVE, User
from idp.users.passwords import SecondFactor

app = typer.Typer(
    no_args_is_help=True, help="Users: create, invite, show, disable, delete, passwords."
)

Name = Annotated[str, typer.Argument(help="User name, e-mail address or id (usr_…).")]
FromStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input.")
]
Generated = Annotated[
    bool, typer.Option("--generate-password", help="Make a password and print it once.")
]
PrintLink = Annotated[
    bool, typer.Option("--print-link", help="Also print the link; whoever has it can use it.")
]


def found(unit: UnitOfWork, name: str) -> User:
    """The user of this name, address or id; raises `Refused` (`unknown_user`)."""
    user = queries.by_id(unit, name) if name.startswith("usr_") else None
    user = user or queries.by_identifier(unit, name)
    if user is None:
        raise Refused("unknown_user", f"There is no user {name!r}.", 404)
    return user


@app.command()
def create(
    username: Annotated[str, typer.Argument(help="User name.")],
    email: Annotated[str | None, typer.Option(help="E-mail address.")] = None,
    name: Annotated[str | None, typer.Option(help="Full name, as apps see it.")] = None,
    role: Annotated[list[str] | None, typer.Option(help="A role; may be repeated.")] = None,
    email_verified: Annotated[
        bool, typer.Option("--email-verified", help="The address is known to be theirs.")
    ] = False,
    password_stdin: FromStdin = False,
    generate_password: Generated = False,
    no_password: Annotated[
        bool, typer.Option("--no-password", help="Cannot sign in until a password is set.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Create a user; asks for the password unless an option says where it comes from."""
    with product() as work:
        given = None
        if not no_password:
            given = _new_password(
                work.settings,
                [username, email or ""],
                from_stdin=password_stdin,
                generated=generate_password,
            )
        hashed = given and passwords.PasswordHasher(work.settings.password).hash(given)
        with work.begin() as unit:
            user = queries.create_user(
                unit,
                username=username,
                email=email,
                password_hash=hashed,
                roles=role or (),
                claims={"name": name} if name else None,
                actor=ADMIN,
            )
            if email_verified:
                queries.mark_email_verified(unit, user, ADMIN)
            data = _described(unit, user)
    if generate_password:
        data["password"] = given
    answer(data, fields(data), as_json=as_json)


@app.command()
def invite(
    username: Annotated[str, typer.Argument(help="User name.")],
    email: Annotated[str, typer.Option(help="E-mail address the invitation goes to.")],
    name: Annotated[str | None, typer.Option(help="Full name, as apps see it.")] = None,
    role: Annotated[list[str] | None, typer.Option(help="A role; may be repeated.")] = None,
    print_link: PrintLink = False,
    as_json: AsJson = False,
) -> None:
    """Create a user and mail them a link to choose their password; again, to send another."""
    with change() as unit:
        user = queries.by_identifier(unit, username)
        if user is None or user.password_hash is not None or not _is_at(user, email):
            user = queries.create_user(
                unit,
                username=username,
                email=email,
                roles=role or (),
                claims={"name": name} if name else None,
                actor=ADMIN,
            )
        link = mailed_links.mail_invitation(unit, user, language=None, actor=ADMIN)
        data = _described(unit, user)
    _answer_link(data, link if print_link else None, as_json=as_json)


@app.command(name="recovery-link")
def recovery_link(
    name: Name,
    mail: Annotated[
        bool, typer.Option("--mail", help="Mail it to the user instead of printing it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a link by which a user sets a new password; nobody else learns that password."""
    with change() as unit:
        user = _active(unit, name)
        link = None
        if mail:
            _require_email(user)
            mailed_links.mail_reset(unit, user, language=None, actor=ADMIN)
        else:
            link = mailed_links.reset_link(unit, user, actor=ADMIN)
        data = {"id": user.id, "minutes": unit.settings.links.reset // 60}
    _answer_link(data, link, as_json=as_json)


@app.command(name="verify-email")
def verify_email(name: Name, print_link: PrintLink = False, as_json: AsJson = False) -> None:
    """Mail a user a link by which they confirm their e-mail address."""
    with change() as unit:
        user = _active(unit, name)
        email = _require_email(user)
        link = mailed_links.mail_verification(unit, user, email, language=None, actor=ADMIN)
        data = {"id": user.id, "email": email}
    _answer_link(data, link if print_link else None, as_json=as_json)


@app.command(name="list")
def list_(
    after: Annotated[str, typer.Option(help="Begin behind this user name.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 100,
    as_json: AsJson = False,
) -> None:
    """List users by user name."""
    with look() as unit:
        data = [_described(unit, user) for user in queries.listed(unit, after=after, limit=limit)]
    shown = ("username", "email", "status", "roles", "id")
    answer(
        data,
        table(("USER NAME", "E-MAIL", "STATUS", "ROLES", "ID"), _picked(data, shown)),
        as_json=as_json,
    )


@app.command()
def show(name: Name, as_json: AsJson = False) -> None:
    """Show one user."""
    with look() as unit:
        data = _described(unit, found(unit, name))
    answer(data, fields(data), as_json=as_json)


@app.command()
def password(
    name: Name,
    password_stdin: FromStdin = False,
    generate_password: Generated = False,
    as_json: AsJson = False,
) -> None:
    """Set a user's password; ends all their sessions."""
    with product() as work:
        with work.read() as unit:
            user = found(unit, name)
            has_second = factors.has_second(factors.enrolled(unit, user.id))
        given = _new_password(
            work.settings,
            [user.username, user.email or ""],
            from_stdin=password_stdin,
            generated=generate_password,
            second_factor="enrolled" if has_second else "none",
        )
        hashed = passwords.PasswordHasher(work.settings.password).hash(given)
        with work.begin() as unit:
            user = found(unit, user.id)
            queries.set_password(unit, user, hashed, ADMIN)
            ended = lifecycle.end_all_of(unit, user.id, reason="password_changed", actor=ADMIN)
    data: dict[str, Any] = {"id": user.id, "sessions_ended": len(ended)}
    if generate_password:
        data["password"] = given
    answer(data, fields(data), as_json=as_json)


@app.command()
def disable(name: Name, as_json: AsJson = False) -> None:
    """Keep a user from signing in; ends all their sessions."""
    with change() as unit:
        user = found(unit, name)
        ended = accounts.disable(unit, user, ADMIN)
    data = {"id": user.id, "status": user.status, "sessions_ended": len(ended)}
    answer(data, fields(data), as_json=as_json)


@app.command()
def enable(name: Name, as_json: AsJson = False) -> None:
    """Let a disabled or locked user sign in again."""
    with change() as unit:
        user = found(unit, name)
        queries.set_status(unit, user, ACTIVE, ADMIN)
    data = {"id": user.id, "status": user.status}
    answer(data, fields(data), as_json=as_json)


@app.command()
def delete(name: Name, yes: Confirmed = False, as_json: AsJson = False) -> None:
    """Delete a user with all their sessions and grants; the audit log stays."""
    with look() as unit:
        user = found(unit, name)
    confirm(f"Delete {user.username} ({user.id}) for good?", confirmed=yes)
    with change() as unit:
        user = found(unit, user.id)
        ended = accounts.delete(unit, user, ADMIN)
    data = {"id": user.id, "deleted": True, "sessions_ended": len(ended)}
    answer(data, fields(data), as_json=as_json)


@app.command()
def roles(
    name: Name,
    role: Annotated[list[str] | None, typer.Argument(help="The roles to have from now on.")] = None,
    none: Annotated[bool, typer.Option("--none", help="Take all roles away.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show a user's roles, or give exactly those that are named."""
    if role and none:
        raise typer.BadParameter("name roles, or say --none")
    with change() as unit:
        user = found(unit, name)
        if role or none:
            queries.set_roles(unit, user, role or (), ADMIN)
    data = {"id": user.id, "roles": user.roles, "permissions": user.permissions}
    answer(data, fields(data), as_json=as_json)


def _described(unit: UnitOfWork, user: User) -> dict[str, Any]:
    return {
        "id": user.id,
        "username": user.username,
        "email": user.email,
        "email_verified": bool(user.email_verified),
        "name": queries.claims_of(unit, user).get("name"),
        "status": user.status,
        "roles": user.roles,
        "permissions": user.permissions,
        "has_password": user.password_hash is not None,
        "created_at": moment(user.created_at),
        "password_changed_at": moment(user.password_changed_at),
    }


def _picked(data: list[dict[str, Any]], names: tuple[str, ...]) -> list[list[Any]]:
    return [[one[name] for name in names] for one in data]


def _active(unit: UnitOfWork, name: str) -> User:
    user = found(unit, name)
    if user.status != ACTIVE:
        raise Refused(
            "user_not_active", f"{user.username} is {user.status}; enable them first.", 409
        )
    return user


def _require_email(user: User) -> str:
    if user.email is None:
        raise Refused("no_email", "This user has no e-mail address.", 409)
    return user.email


def _is_at(user: User, email: str) -> bool:
    return user.email is not None and names.canonical(user.email) == names.canonical(email)


def _answer_link(data: dict[str, Any], link: str | None, *, as_json: bool) -> None:
    if link is not None:
        data["link"] = link
    answer(data, fields(data), as_json=as_json)


def _new_password(
    settings: Settings,
    words: list[str],
    *,
    from_stdin: bool,
    generated: bool,
    second_factor: SecondFactor = "none",
) -> str:
    """The password to set: made, read, or asked for twice. Weak ones are refused."""
    if from_stdin and generated:
        raise typer.BadParameter("--password-stdin and --generate-password exclude each other")
    if generated:
        return secrets.token_urlsafe(18)
    if from_stdin:
        given = sys.stdin.readline().rstrip("\r\n")
    elif sys.stdin.isatty():
        given = getpass.getpass("Password: ")
        if getpass.getpass("The same again: ") != given:
            raise Refused("invalid_password", "The two are not the same. Nothing was changed.")
    else:
        raise typer.BadParameter("say --password-stdin, --generate-password, or use a terminal")
    problem = passwords.problem_with(given, settings, words, second_factor=second_factor)
    if problem is not None:
        raise Refused("invalid_password", problem)
    return given
