"""Who may do this, to whom: a fresh proof for what is dangerous, and nobody above oneself (AD-04).

Whether a token carries an operation's scope is asked before this (`protected.authenticate_manager`).
What stands above what is `idp.policy.management`.
"""

from collections.abc import Iterable

from idp.admin.operation import Call
from idp.errors import Refused
from idp.notify import mailed_links
from idp.oauth import protected
from idp.oauth.model import Client
from idp.policy import management
from idp.storage.columns import LOCKED
from idp.users import links, queries
from idp.users.links import Purpose
from idp.users.model import ACTIVE, Role, User
from idp.web import elevation


def require_fresh_proof(call: Call) -> None:
    """Asks the person behind the token for a proof, unless theirs is fresh (RFC 9470 section 3)."""
    person = call.manager.person
    if person is None:
        return
    demand = elevation.demand(call.unit, person.user_id, "administer")
    protected.require_proof(person, demand, max_age=call.unit.settings.assurance.elevation)


def person_below(call: Call, user_id: str) -> User:
    """The person of this id, held until the end of the call, if the caller may act on them.

    Raises `Refused`: `user_not_found` (404), `above_you` (403).
    """
    user = call.unit.orm.get(User, user_id, with_for_update=LOCKED)
    if user is None:
        raise no_such_user()
    if management.is_above(user.permissions, call.rights):
        raise Refused("above_you", "This person has rights that you do not have.", 403)
    return user


def require_other(call: Call, user: User) -> None:
    """Refuses what nobody does to themselves: it would lock them out, or lift them up."""
    person = call.manager.person
    if person is not None and person.user_id == user.id:
        raise Refused("own_account", "This cannot be done to one's own account here.", 403)


def require_mailable(call: Call, user: User, purpose: Purpose) -> str:
    """The address of somebody who can use a link, and has not been sent enough of them for now.

    Raises `Refused`: `user_not_active`, `no_email` (409), `too_many_mails` (429).
    """
    if user.status != ACTIVE:
        raise Refused("user_not_active", f"This user is {user.status}; enable them first.", 409)
    if user.email is None:
        raise Refused("no_email", "This user has no e-mail address.", 409)
    if links.made_within(call.unit, user.id, purpose) >= mailed_links.MOST_AN_HOUR:
        raise Refused(
            "too_many_mails",
            "This user was sent enough such mails within the hour.",
            429,
            retry_after=600,
        )
    return user.email


def no_such_user() -> Refused:
    return Refused("user_not_found", "There is no such user.", 404)


def grantable_roles(call: Call, names: Iterable[str]) -> list[Role]:
    """The roles of these names, held until the end of the call, if the caller may hand them out.

    Raises `Refused`: `unknown_role` (400), `above_you` (403) for one that gives a right which the
    caller has not.
    """
    try:
        roles = queries.known_roles(call.unit, names)
    except Refused as refused:
        raise Refused(refused.code, refused.sentence, 400) from None
    for role in roles:
        if management.gives_more(role.permissions, call.rights):
            raise Refused("above_you", f"The role {role.name} gives rights you do not have.", 403)
    return roles


def client_below(call: Call, client_id: str) -> Client:
    """The client of this id, held until the end of the call, if the caller may change it.

    Whoever changes a client gets at its rights, by its secret or its redirect URI. Raises `Refused`:
    `client_not_found` (404), `above_you` (403).
    """
    client = call.unit.orm.get(Client, client_id, with_for_update=LOCKED)
    if client is None:
        raise Refused("client_not_found", "There is no such client.", 404)
    if management.is_above(client.scope.split(), call.rights):
        raise Refused("above_you", "This app has rights that you do not have.", 403)
    require_insight(call, client)
    return client


def require_scopes(call: Call, scope: str) -> None:
    """Refuses to give a client scopes of the management API which the caller has not."""
    if management.gives_more(scope.split(), call.rights):
        raise Refused("above_you", "These scopes include rights that you do not have.", 403)


def require_insight(call: Call, client: Client) -> None:
    """Refuses, without the right to them, an app that gets at everybody's sessions or tokens.

    Nobody is asked before an app of one's own may see and end their sessions (`sessions`), and one
    that introspects all learns whose every token is.
    """
    wanted = {"sessions:read"} if client.introspects_all else set()
    if client.first_party and "sessions" in client.scope.split():
        wanted |= {"sessions:read", "sessions:revoke"}
    if not wanted <= call.rights:
        raise Refused("above_you", "Such an app needs rights over sessions that you lack.", 403)
