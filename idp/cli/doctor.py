"""`idp doctor`: is this deployment fit to serve?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from smtplib import SMTPException
from typing import Literal
from urllib.parse import urlsplit

import typer
from sqlalchemy import BigInteger, cast, func, select

from idp import settings as deployment
from idp.cli import schema
from idp.cli.terminal import AsJson, answer, table
from idp.clock import DAY, SECOND, Instant, SystemClock
from idp.errors import Refused
from idp.events import log
from idp.events.model import EventRow
from idp.notify.composing import domain_of
from idp.notify.smtp import Server, Smtp, reason
from idp.oauth.keys import AGE_WARNED
from idp.oauth.model import SigningKey
from idp.policy import places
from idp.sessions.atlas import Atlas, files_in
from idp.sessions.mmdb import GeoFile, Unusable
from idp.settings import Settings, SettingsError
from idp.storage import migrations
from idp.storage.unit_of_work import UnitOfWork, Work
from idp.storage.vault import Unreadable
from idp.users import rules

State = Literal["ok", "warning", "failed"]

# A clock further off than this breaks the order of sign-ins and the life of tokens.
SKEW_TOLERATED = 2 * SECOND
# Files come out every month at least; three were missed.
GEO_AGE_WARNED = 100 * DAY
# The newest rows of the audit chain that are checked; `idp events verify` walks all of it.
CHAIN_CHECKED = 10_000
_EXAMPLES = ("change", "secret", "example", "password", "replace", "insert")
_VARIETY = 12
# Rules that are named one by one.
_NAMED = 5
_PARTS = {places.COUNTRY: "country", places.NETWORK: "network", places.DISTANCE: "distance"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    check: str
    state: State
    said: str


def doctor(as_json: AsJson = False) -> None:
    """Look at settings, database, keys, clock and audit log; ends with 1 when something failed."""
    findings = examine()
    answer(
        {
            "ok": all(one.state != "failed" for one in findings),
            "findings": [asdict(one) for one in findings],
        },
        table(("CHECK", "STATE", ""), [(one.check, one.state, one.said) for one in findings]),
        as_json=as_json,
    )
    if any(one.state == "failed" for one in findings):
        raise typer.Exit(1)


def examine() -> list[Finding]:
    """Everything that can be looked at; what rests on a part that failed is left out."""
    try:
        settings = deployment.load()
    except SettingsError as error:
        return [Finding("settings", "failed", str(error))]
    findings = [
        Finding("settings", "ok", "read"),
        _secret_key(settings),
        _issuer(settings),
        _mail(settings),
        _geo(settings),
    ]
    from idp.app import assemble

    work = assemble(settings)
    try:
        return [*findings, *_shared(work), *_stored(work)]
    finally:
        work.database.close()


def _stored(work: Work) -> list[Finding]:
    try:
        work.database.ping()
    except Refused as refusal:
        reason = (refusal.detail or refusal.sentence).splitlines()[0]
        return [Finding("database", "failed", reason)]
    reached = [Finding("database", "ok", f"{work.database.url.get_backend_name()}, reached")]
    if (risk := work.database.failover_risk()) is not None:
        reached.append(Finding("replicas", "warning", risk))
    problem = schema.problem_with(work.database)
    if problem is not None:
        return [*reached, Finding("schema", "failed", problem)]
    checks: list[Callable[[UnitOfWork], Finding]] = [
        _signing_keys,
        _clock,
        _rules,
        _place_rules,
        _audit_log,
    ]
    found = [*reached, Finding("schema", "ok", f"revision {migrations.head()}")]
    for check in checks:
        with work.read() as unit:
            found.append(check(unit))
    return found


def _secret_key(settings: Settings) -> Finding:
    key = settings.secret_key.get_secret_value()
    if len(set(key)) < _VARIETY or any(word in key.lower() for word in _EXAMPLES):
        return Finding(
            "secret key",
            "failed",
            "IDP_SECRET_KEY looks made up; make one with: "
            "python -c 'import secrets; print(secrets.token_urlsafe(48))'",
        )
    older = len(settings.previous_secret_keys)
    if older:
        return Finding(
            "secret key",
            "warning",
            f"{older} older one(s) still read; after idp keys reencrypt they can be dropped",
        )
    return Finding("secret key", "ok", f"{len(key)} characters")


def _issuer(settings: Settings) -> Finding:
    if settings.is_secure:
        return Finding("issuer", "ok", settings.issuer)
    host = urlsplit(settings.issuer).hostname
    return Finding("issuer", "warning", f"{settings.issuer}: plain http, only good on {host}")


def _mail(settings: Settings) -> Finding:
    """Goes as far as a mail could be sent, and sends none."""
    server = Server.of(settings.mail)
    if server is None and settings.is_secure:
        return Finding(
            "mail",
            "warning",
            "no server is set (IDP_MAIL__SERVER): nobody can reset a password or is told of changes",
        )
    if server is None:
        return Finding("mail", "ok", "no server is set; mail can be read at /dev/mail")
    try:
        Smtp(server, name=domain_of(settings)).try_out(seconds=settings.mail.timeout)
    except (OSError, SMTPException, UnicodeError) as problem:
        return Finding("mail", "failed", f"{server.host}:{server.port}: {reason(problem)}")
    return Finding("mail", "ok", f"{server.host}:{server.port}, reached")


def _shared(work: Work) -> list[Finding]:
    """Redis, where one is set; it is no failure when it is away."""
    from idp.app import NotReady, store_of

    if not work.settings.redis_url.get_secret_value():
        return []
    try:
        store = store_of(work)
    except NotReady as problem:
        return [Finding("redis", "failed", str(problem))]
    try:
        if store.is_reachable():
            return [Finding("redis", "ok", "reached")]
    finally:
        store.close()
    return [
        Finding(
            "redis", "warning", "does not answer: nothing is lost, but every node is on its own"
        )
    ]


def _geo(settings: Settings) -> Finding:
    """Places are a courtesy: nothing about them makes a deployment unfit."""
    folder = Path(settings.geo.folder)
    try:
        names = [one.name for one in files_in(folder)]
    except FileNotFoundError:
        names = []
    except OSError as error:
        return Finding("places", "warning", f"{folder}: {error.strerror}")
    if not names:
        return Finding("places", "ok", f"no files in {folder}: places of addresses are unknown")
    built: dict[str, Instant] = {}
    for name in names:
        try:
            file = GeoFile(folder / name)
        except Unusable as problem:
            return Finding("places", "warning", f"{folder / name}: {problem.reason}")
        built[name] = file.built_at or 0
        file.close()
    oldest = min(built, key=lambda name: built[name])
    age = (SystemClock().now() - built[oldest]) // DAY
    said = f"{len(names)} files; {oldest} is {age} days old"
    if age * DAY > GEO_AGE_WARNED:
        return Finding("places", "warning", f"{said}: idp geo update")
    return Finding("places", "ok", said)


def _rules(unit: UnitOfWork) -> Finding:
    """Rules that cannot be carried out as they were set."""
    rows = rules.all_rules(unit)
    unfit = rules.unfit(rows)
    named = [
        f"{_named(one.kind, one.applies_to)}: {unfit[one.id]}" for one in rows if one.id in unfit
    ]
    if not named:
        return Finding("rules", "ok", f"{len(rows)} set")
    return Finding(
        "rules",
        "warning",
        "cannot be read any more (then whomever they are for may not be able to sign in), or "
        "contradict themselves: " + _first_of(named, "idp rules set"),
    )


def _named(kind: str, applies_to: Mapping[str, str]) -> str:
    return " ".join([kind, *(f"{name}={wanted}" for name, wanted in applies_to.items())])


def _first_of(named: Sequence[str], remedy: str) -> str:
    more = [f"and {len(named) - _NAMED} more"] if len(named) > _NAMED else []
    return "; ".join([*named[:_NAMED], *more, remedy])


def _place_rules(unit: UnitOfWork) -> Finding:
    """Rules that ask where somebody is, and nobody knows it."""
    atlas = Atlas(unit.settings.geo, unit.clock)
    try:
        rows = rules.all_rules(unit)
        said = [(one.kind, one.applies_to, one.value) for one in rows]
        leaning = places.without(said, atlas.gives())
    finally:
        atlas.close()
    if not leaning:
        return Finding("rules and places", "ok", "no rule asks for what no file knows")
    named = [
        f"{_named(one.kind, one.applies_to)} ({', '.join(_PARTS[part] for part in one.missing)})"
        for one in leaning
    ]
    return Finding(
        "rules and places",
        "warning",
        f"no file in {unit.settings.geo.folder} knows what these ask for, so they have no effect, "
        f"and an allowed network lets nobody in: {_first_of(named, 'idp geo update')}",
    )


def _signing_keys(unit: UnitOfWork) -> Finding:
    rows = unit.orm.scalars(select(SigningKey).where(SigningKey.state != "retired")).all()
    have = {(row.alg, row.state) for row in rows}
    missing = [
        f"{alg} ({state})"
        for alg in ("ES256", "RS256")
        for state in ("active", "next")
        if (alg, state) not in have
    ]
    if missing:
        return Finding(
            "signing keys", "failed", f"missing: {', '.join(missing)}; idp serve makes the first"
        )
    for row in rows:
        try:
            unit.vault.open_text(row.private_jwk, f"key:{row.kid}")
        except Unreadable as error:
            return Finding(
                "signing keys",
                "failed",
                f"{row.kid} cannot be opened ({error}); was IDP_SECRET_KEY changed without "
                "keeping the old one in IDP_PREVIOUS_SECRET_KEYS?",
            )
    age = max(unit.now - (row.activated_at or unit.now) for row in rows) // DAY
    if age * DAY > AGE_WARNED:
        return Finding("signing keys", "warning", f"active for {age} days; idp keys rotate")
    return Finding("signing keys", "ok", f"active for {age} days")


def _clock(unit: UnitOfWork) -> Finding:
    """Our clock against the database's, and against the newest thing that was recorded."""
    if unit.connection.dialect.name == "postgresql":
        micros = cast(func.extract("epoch", func.clock_timestamp()) * SECOND, BigInteger)
        apart = abs(int(unit.connection.scalar(select(micros)) or 0) - unit.clock.now())
        if apart > SKEW_TOLERATED:
            return Finding(
                "clock", "failed", f"{apart / SECOND:.1f} seconds away from the database's"
            )
    newest = unit.connection.scalar(select(EventRow.at).order_by(EventRow.id.desc()).limit(1))
    ahead = (newest or 0) - unit.clock.now()
    if ahead > SKEW_TOLERATED:
        return Finding(
            "clock", "failed", f"{ahead / SECOND:.1f} seconds behind the newest event recorded"
        )
    return Finding("clock", "ok", "agrees with the database")


def _audit_log(unit: UnitOfWork) -> Finding:
    count, fault = log.verify(unit, newest=CHAIN_CHECKED)
    if fault is not None:
        return Finding("audit log", "failed", f"tampered with: {fault}")
    return Finding("audit log", "ok", f"the newest {count} sealed rows hold")
