"""Every fact the product records, a dataclass each; the docstring is its documentation.

The dataclass fields named in `COLUMNS` become columns of the log, every other field goes into
`data`. README lists each type (a test compares).
"""

from dataclasses import dataclass
from typing import ClassVar

from idp.clock import Instant
from idp.events import export as export
from idp.events.administration import BulkSignOutAsked as BulkSignOutAsked
from idp.events.administration import BulkSignOutDone as BulkSignOutDone
from idp.events.administration import ClientChanged as ClientChanged
from idp.events.administration import ClientCreated as ClientCreated
from idp.events.administration import InitialAccessAllowed as InitialAccessAllowed
from idp.events.administration import InitialAccessRevoked as InitialAccessRevoked
from idp.events.administration import KeysRotated as KeysRotated
from idp.events.administration import QueryChanged as QueryChanged
from idp.events.administration import QueryRemoved as QueryRemoved
from idp.events.administration import QuerySaved as QuerySaved
from idp.events.administration import (
    RegistrationReuseDetected as RegistrationReuseDetected,
)
from idp.events.administration import RuleChanged as RuleChanged
from idp.events.administration import RulesApplied as RulesApplied
from idp.events.event import COLUMNS as COLUMNS
from idp.events.event import Event as Event


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStarted(Event):
    """A person signed in and a session began."""

    type: ClassVar[str] = "session.created"
    method: str
    acr: str
    device: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionReauthenticated(Event):
    """The person of a running session proved again who they are."""

    type: ClassVar[str] = "session.reauthenticated"
    method: str
    acr: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRenamed(Event):
    """A person gave a session a name of their own."""

    type: ClassVar[str] = "session.renamed"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionExtended(Event):
    """A session's idle deadline was moved on request ("stay signed in")."""

    type: ClassVar[str] = "session.extended"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEnded(Event):
    """A session ended; `reason` says why, the actor who. Its tokens died with it."""

    type: ClassVar[str] = "session.ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedOutEverywhere(Event):
    """All sessions of a person were ended, and every grant that had outlived its session. `kept` is
    the one session that stays, if any; `begun_until` says that what began later stays, too."""

    type: ClassVar[str] = "user.signed_out_everywhere"
    kept: str | None
    begun_until: Instant | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitReached(Event):
    """A sign-in met a limit of sessions; so many `ended`, or nothing began, as `at_limit` says or for
    want of a proof."""

    type: ClassVar[str] = "session.limit_reached"
    limit: int
    at_limit: str
    ended: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionMarked(Event):
    """A person wants a session to be the last to give way at a limit, or not any more (`kept`)."""

    type: ClassVar[str] = "session.marked"
    kept: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginFailed(Event):
    """A sign-in failed; `reason` is for administrators, the person sees one sentence for all."""

    type: ClassVar[str] = "login.failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginThrottled(Event):
    """A sign-in was refused before its password was checked: too many attempts."""

    type: ClassVar[str] = "login.throttled"
    scope: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentGranted(Event):
    """A person allowed a client the scopes in `scope`."""

    type: ClassVar[str] = "consent.granted"
    scope: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentDenied(Event):
    """A person refused a client."""

    type: ClassVar[str] = "consent.denied"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentRevoked(Event):
    """A person took back what a client was allowed; its grants ended."""

    type: ClassVar[str] = "consent.revoked"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationIssued(Event):
    """A client received an authorization code for a session."""

    type: ClassVar[str] = "authorization.issued"
    authorization_id: str
    scope: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeRedeemed(Event):
    """A client exchanged its authorization code for tokens."""

    type: ClassVar[str] = "token.issued"
    authorization_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRefreshed(Event):
    """A client exchanged a refresh token; `generation` counts the rotations of its family."""

    type: ClassVar[str] = "token.refreshed"
    authorization_id: str
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReuseDetected(Event):
    """A code or refresh token came back after it was spent; its whole grant was ended."""

    type: ClassVar[str] = "token.reuse_detected"
    authorization_id: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationEnded(Event):
    """One client's grant ended while its session goes on (or outlived it)."""

    type: ClassVar[str] = "authorization.ended"
    authorization_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRevoked(Event):
    """A client revoked one access token (RFC 7009)."""

    type: ClassVar[str] = "token.revoked"
    jti: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogoutDelivered(Event):
    """An app accepted a logout token."""

    type: ClassVar[str] = "logout.delivered"
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LogoutGivenUp(Event):
    """An app could not be told of a logout within the horizon."""

    type: ClassVar[str] = "logout.given_up"
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UserCreated(Event):
    """A user was created."""

    type: ClassVar[str] = "user.created"


@dataclass(frozen=True, slots=True, kw_only=True)
class UserChanged(Event):
    """An administrator changed a user; `changed` names the fields."""

    type: ClassVar[str] = "user.changed"
    changed: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class UserDeleted(Event):
    """A user was deleted with everything that hung on them."""

    type: ClassVar[str] = "user.deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordChanged(Event):
    """A user's password was set."""

    type: ClassVar[str] = "credential.changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmailChanged(Event):
    """A user's e-mail address changed; `previous` is the old one, sealed, for telling it so."""

    type: ClassVar[str] = "user.email_changed"
    previous: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EmailChangeAsked(Event):
    """Somebody in a session asked for another e-mail address; it must be confirmed by mail first."""

    type: ClassVar[str] = "user.email_change_asked"


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorAdded(Event):
    """A passkey or a code generator was enrolled; `credential` is its id, `kind` passkey or totp."""

    type: ClassVar[str] = "factor.added"
    kind: str
    name: str
    credential: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorRemoved(Event):
    """A passkey or a code generator was removed; proofs made with it count for nothing."""

    type: ClassVar[str] = "factor.removed"
    kind: str
    name: str
    credential: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorRenamed(Event):
    """A passkey or a code generator was given another name."""

    type: ClassVar[str] = "factor.renamed"
    kind: str
    name: str
    credential: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorSuspended(Event):
    """A passkey's counter went backwards: there may be a copy, so it is not taken any more."""

    type: ClassVar[str] = "factor.suspended"
    kind: str
    name: str
    credential: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryCodesMade(Event):
    """A new set of recovery codes was made; older ones are nothing."""

    type: ClassVar[str] = "recovery_codes.made"
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryCodeUsed(Event):
    """A recovery code was used; `left` are unused."""

    type: ClassVar[str] = "recovery_codes.used"
    left: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceTrusted(Event):
    """A browser need not show a second factor for a while."""

    type: ClassVar[str] = "device.trusted"
    device: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRenamed(Event):
    """A trusted browser was given another name."""

    type: ClassVar[str] = "device.renamed"
    device: str
    credential: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceForgotten(Event):
    """A trusted browser is asked for a second factor again."""

    type: ClassVar[str] = "device.forgotten"
    device: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RememberMade(Event):
    """A browser was told to stay signed in; `series` is the id of its credential."""

    type: ClassVar[str] = "remember.made"
    series: str
    browser: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RememberUsed(Event):
    """A browser that stays signed in began a session, in which nothing is proved yet."""

    type: ClassVar[str] = "remember.used"
    series: str
    browser: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RememberForgotten(Event):
    """A browser does not stay signed in any more; `reason` says why."""

    type: ClassVar[str] = "remember.forgotten"
    series: str
    browser: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RememberCopied(Event):
    """The cookie that keeps a browser signed in was copied: it came back after it was spent, or from
    another browser (`reason` spent, foreign). It was revoked, and its browser's sessions ended."""

    type: ClassVar[str] = "remember.reuse_detected"
    series: str
    browser: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondFactorAsked(Event):
    """A sign-in showed a right password and must show a second factor now."""

    type: ClassVar[str] = "login.second_factor_asked"


@dataclass(frozen=True, slots=True, kw_only=True)
class PairingClaimed(Event):
    """The code of another device was opened; `kind` is device, sign_in or move."""

    type: ClassVar[str] = "pairing.claimed"
    pairing: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PairingContested(Event):
    """A code that somebody had opened was opened by somebody else as well, in vain."""

    type: ClassVar[str] = "pairing.contested"
    pairing: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PairingApproved(Event):
    """A person let another device in; what it gets is recorded when it comes for it."""

    type: ClassVar[str] = "pairing.approved"
    pairing: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PairingDenied(Event):
    """Another device was not let in: its person said no (`denied`), or for another `reason`."""

    type: ClassVar[str] = "pairing.denied"
    pairing: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PairingReported(Event):
    """A person did not start a request of another device; its network must wait a day."""

    type: ClassVar[str] = "pairing.reported"
    pairing: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PairingConsumed(Event):
    """Another device was signed in; `session_id` is its session, `approver` the one that let it in."""

    type: ClassVar[str] = "pairing.consumed"
    pairing: str
    kind: str
    device: str
    approver: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CodesGuessed(Event):
    """So many codes of other devices were typed wrong by everybody that somebody may be guessing."""

    type: ClassVar[str] = "pairing.codes_guessed"
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionsEndSoon(Event):
    """Running sessions were given a nearer end, as after a password change; `kept` stays."""

    type: ClassVar[str] = "user.sessions_end_soon"
    kept: str | None
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRelocated(Event):
    """A session went on from another address; `reason` is ip, network, country or device."""

    type: ClassVar[str] = "session.relocated"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionChallenged(Event):
    """A session was used from elsewhere or on another device: nothing goes on without a proof."""

    type: ClassVar[str] = "session.challenged"
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionDisowned(Event):
    """A person said of a session: this wasn't me."""

    type: ClassVar[str] = "session.disowned"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountSecured(Event):
    """A person went through all steps of "This wasn't me"; how often each thing was done since
    `begun`."""

    type: ClassVar[str] = "user.secured"
    begun: Instant
    sessions: int
    grants: int
    passwords: int
    passkeys: int
    totps: int
    devices: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSent(Event):
    """A link was made for somebody: `purpose` says what it may do."""

    type: ClassVar[str] = "link.sent"
    purpose: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkUsed(Event):
    """A link was used, and is worth nothing now."""

    type: ClassVar[str] = "link.used"
    purpose: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MailDelivered(Event):
    """The mail server took a mail; `message` names which."""

    type: ClassVar[str] = "mail.delivered"
    message: str
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MailGivenUp(Event):
    """A mail could not be handed to the mail server within the horizon."""

    type: ClassVar[str] = "mail.given_up"
    message: str
    attempts: int


# By type, because a dataclass with slots leaves the class it was made from behind for a while; the
# later of the two is the one that is used.
ALL: tuple[type[Event], ...] = tuple({kind.type: kind for kind in Event.__subclasses__()}.values())
