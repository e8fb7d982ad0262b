"""`python -m tests.attacks.removed_checks`: takes away each check of a passkey, and sees a test fail.

Each check of WebAuthn Level 3 sections 7.1 and 7.2 (and what binds a challenge to its ceremony) is
removed by itself, in a process of its own, from the code as it is loaded: files stay as they are. Then
the tests of passkeys run until the first that fails. A check whose absence no test notices is printed,
and the exit code is 1. By hand, because it takes a quarter of an hour; names, such as `R8 A10`, choose.
"""

import contextlib
import importlib
import inspect
import io
import os
import sys
import time
from dataclasses import dataclass
from types import FunctionType, ModuleType

import pytest

CHECKS = "idp.users.webauthn_checks"
PASSKEYS = "idp.users.passkeys"
CEREMONY = "idp.sessions.ceremony"
CREATED = "webauthn.registration.verify_registration_response"
PACKED = "webauthn.registration.formats.packed"
GOT = "webauthn.authentication.verify_authentication_response"
_UNIT = "tests/attacks/test_passkeys.py"
_PAGES = "tests/attacks/test_hostile_ceremonies.py"
_STORED = "tests/users/test_passkeys.py"
# What is imported before the tests are collected is not rewritten, which is no error here.
_OPTIONS = ("-q", "-x", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning")


@dataclass(frozen=True, slots=True)
class Check:
    """A check, by its step of the registration (R) or assertion (A): where it stands, and what stands
    there without it. `seen_by` chooses among the tests; what is left out is those of its number."""

    name: str
    module: str
    there: str
    instead: str
    seen_by: str = ""
    tests: str = _UNIT


# fmt: off
REMOVED = [
    Check("R1 UTF-8", CHECKS, 'decode("utf-8"))', 'decode("utf-8", "replace"))'),
    Check("R1 members once", CHECKS, "len(found) == len(members)", "True"),
    Check("R2 type", CREATED, "client_data.type != ClientDataType.WEBAUTHN_CREATE", "False"),
    Check("R3 challenge", CREATED, "expected_challenge != client_data.challenge", "False"),
    Check("R3 unexpired", CEREMONY, "now < ceremony.expires_at", "True", "expired", _PAGES),
    Check("R3 of this session", "idp.web.passkeys",
          "ceremony.session_id != visitor.session.id", "False", "of_elsewhere", _PAGES),
    Check("R3 of this browser", CEREMONY,
          "ceremony.browser_hash != browser_hash", "False", "of_elsewhere", _PAGES),
    Check("R3 of this ceremony", CEREMONY,
          "ceremony.purpose != purpose", "False", "of_elsewhere", _PAGES),
    Check("R3 consumed", "idp.web.passkeys",
          "ceremony if ceremonies.spend(unit, ceremony) else None", "ceremony", "answered_again",
          _PAGES),
    Check("R4 origin", CREATED, "expected_origin.index(client_data.origin)", "pass"),
    Check("R5 crossOrigin", CHECKS,
          '_require(said.get("crossOrigin", False) is False', "_require(True"),
    Check("R6 topOrigin", CHECKS, '_require("topOrigin" not in said', "_require(True"),
    Check("R7 size", CHECKS, "len(text) <= LONGEST_TEXT", "True", "hostile_json and long"),
    Check("R7 no bytes behind", "idp.users.cbor", "end == len(data)", "True", "bytes_behind"),
    Check("R7 keys once", "idp.users.cbor", "key not in found", "True", "hostile_cbor and twice"),
    Check("R7 depth", "idp.users.cbor", "depth < _DEEPEST", "True", "hostile_cbor and deep"),
    Check("R7 lengths", "idp.users.cbor", "end <= len(data)", "True", "hostile_cbor and GiB"),
    Check("R7 members", CHECKS, 'found.keys() == {"fmt", "attStmt", "authData"}', "True"),
    Check("R8 RP ID", CREATED, "auth_data.rp_id_hash != expected_rp_id_hash_bytes", "False"),
    Check("R9 user present", CREATED, "require_user_presence and not auth_data.flags.up", "False"),
    Check("R10 user verified", CHECKS,
          "require_user_verification=True", "require_user_verification=False"),
    Check("R11 BS needs BE", "webauthn.helpers.parse_backup_flags", "raise ", "Exception() or "),
    Check("R12 algorithm", CHECKS, 'raise ValueError("no key of an offered algorithm")', "pass"),
    Check("R12 members of EC2", CHECKS, "len(key) == 5 and len(x) == len(y) == 32", "True"),
    Check("R12 members of OKP", CHECKS, "len(key) == 4 and len(x) == 32", "True"),
    Check("R12 size of RSA", CHECKS, "sizes and n[0] != 0 and n[-1] % 2 == 1", "True"),
    Check("R12 on the curve", CHECKS,
          "decoded_public_key_to_cryptography(decode_credential_public_key(encoded))", "pass"),
    Check("R13 extensions", CHECKS, '_map(outputs, "extensions")', "pass"),
    Check("R13 nothing behind", CHECKS,
          '_require(at == len(data), "bytes behind', '_require(True, "'),
    Check("R14 format", CHECKS, "isinstance(fmt, str) and fmt in _STATEMENT_MEMBERS", "True"),
    Check("R14 members of the statement", CHECKS,
          "statement.keys() == _STATEMENT_MEMBERS[fmt]", "True"),
    Check("R14 algorithm of the statement", PACKED,
          "decoded_pub_key.alg != attestation_statement.alg", "False"),
    Check("R14 signature", PACKED,
          "except InvalidSignature:", "except InvalidSignature:\n            return True"),
    Check("R15 length of the id", CHECKS, "0 < length <= LONGEST_CREDENTIAL_ID", "True"),
    Check("R15 id of nobody", PASSKEYS,
          'raise invalid("the credential is registered already") from None', "raise",
          "not_registered_again"),
    Check("R15 attested id", CHECKS, "attested_id == credential.raw_id", "True", "attested"),
    Check("R16 counter", PASSKEYS,
          "sign_count=found.sign_count", "sign_count=0", "passkey", _STORED),
    Check("R16 transports", PASSKEYS, "transports=transports", "transports=[]", "passkey", _STORED),
    Check("R16 BE", PASSKEYS, "backup_eligible=int(", "backup_eligible=0 * int(", "passkey", _STORED),
    Check("R16 BS at first", PASSKEYS,
          "backed_up=int(found.credential_backed_up),\n        user_verified",
          "backed_up=0,\n        user_verified", "passkey", _STORED),
    Check("R16 uvInitialized", PASSKEYS,
          "user_verified=int(found.user_verified)", "user_verified=0", "passkey", _STORED),
    Check("R17 whatever it raises", CHECKS,
          "except Exception as error:", "except ZeroDivisionError as error:"),
    Check("A2 of this user", PASSKEYS,
          "user_id is not None and passkey.user_id != user_id", "False", "sign_in_another"),
    Check("A2 a userHandle", PASSKEYS, "handle is None and user_id is None", "False"),
    Check("A2 their userHandle", PASSKEYS,
          "handle is not None and handle != passkey.user_id.encode()", "False"),
    Check("A3 type", GOT, "client_data.type != ClientDataType.WEBAUTHN_GET", "False"),
    Check("A4 challenge", GOT, "expected_challenge != client_data.challenge", "False", "A5 and R3"),
    Check("A4 consumed", "idp.sessions.prove",
          "ceremonies.spend(unit, ceremony):\n            return Rejected(NO_LONGER_CURRENT, 400",
          "True:\n            return Rejected(NO_LONGER_CURRENT, 400", "answered_again", _PAGES),
    Check("A4 of this session", "idp.web.step_up",
          "ceremony.session_id != visitor.session.id", "False", "of_elsewhere", _PAGES),
    Check("A5 origin", GOT, "expected_origin.index(client_data.origin)", "pass"),
    Check("A6 RP ID", GOT, "auth_data.rp_id_hash != expected_rp_id_hash_bytes", "False"),
    Check("A7 user present", GOT, "not auth_data.flags.up", "False"),
    Check("A8 user verified", PASSKEYS,
          '"required" if user_id is None else "preferred"', '"preferred"'),
    Check("A8 what it earns", PASSKEYS,
          "verified if found.user_verified else", "verified if True else", "earns_the_least"),
    Check("A9 BE as it was", PASSKEYS, "is_eligible != bool(passkey.backup_eligible)", "False"),
    Check("A10 signature", GOT,
          'raise InvalidAuthenticationResponse("Could not verify authentication signature")',
          "pass"),
    Check("A11 counter", PASSKEYS,
          "Passkey.sign_count < count if count", "True if count", "passkey", _STORED),
    Check("A11 counter that stays 0", PASSKEYS,
          "else Passkey.sign_count == 0", "else True", "does_not_go_up"),
    Check("A11 suspended", PASSKEYS,
          "Passkey.suspended_at.is_(None),\n            Passkey.sign_count",
          "Passkey.sign_count", "does_not_go_up"),
    Check("A11 signature before it", CHECKS,
          "credential_current_sign_count=0", "credential_current_sign_count=99", "signs_in",
          _STORED),
    Check("A12 in one statement", PASSKEYS,
          "changed = unit.connection.execute(moved).rowcount",
          "changed = int(not count or passkey.sign_count < count); passkey.sign_count = count",
          "many_at_once", _STORED),
    Check("A13 id is rawId", CHECKS, "said == spelled", "True"),
    Check("A13 base64url", CHECKS, "again == found", "True"),
    Check("A13 type of credential", CHECKS, 'sent.get("type") == "public-key"', "True"),
    Check("A no key in it", CHECKS, "not data[32] & _ATTESTED", "True", "wrong_is_refused and key"),
]
# fmt: on


def main(wanted: list[str]) -> int:
    """Gives 1 if a check can go without a test failing."""
    # Once, for all the processes that follow.
    importlib.import_module("tests.harness.provider")
    unseen = []
    for check in REMOVED:
        if wanted and not any(check.name.startswith(one) for one in wanted):
            continue
        began = time.monotonic()
        seen = _fails_without(check)
        took = time.monotonic() - began
        print(f"{check.name:30} {seen or 'NOTHING FAILS'} ({took:.0f} s)", flush=True)
        if not seen:
            unseen.append(check.name)
    return 1 if unseen else 0


def _fails_without(check: Check) -> str | None:
    """The first test that fails without a check; None when none does."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        try:
            os.write(write, _first_to_fail(check).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as said:
        outcome = said.read().decode()
    os.waitpid(child, 0)
    if outcome.startswith("tests/"):
        return outcome
    if outcome == "exit 0":
        return None
    raise RuntimeError(f"{check.name}: the tests did not run ({outcome or 'the process died'})")


def _first_to_fail(check: Check) -> str:
    """The test, or, where none fails, how pytest ended."""
    _take_away(check)
    first = _First()
    only = check.seen_by or check.name.partition(" ")[0]
    with contextlib.redirect_stdout(io.StringIO()):
        code = pytest.main([*_OPTIONS, "-k", only, check.tests], plugins=[first])
    return first.failed or f"exit {int(code)}"


class _First:
    """Remembers what failed first."""

    failed = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid


def _take_away(check: Check) -> None:
    """Compiles a module without the check, and gives its functions the code that comes of it.

    The functions themselves stay, because others hold them by name.
    """
    module = importlib.import_module(check.module)
    source = inspect.getsource(module)
    if check.there not in source:
        raise ValueError(f"{check.name}: {check.module} holds no {check.there!r}")
    changed = ModuleType(module.__name__)
    changed.__dict__.update(vars(module))
    code = compile(source.replace(check.there, check.instead), module.__file__ or "", "exec")
    exec(code, vars(changed))
    for name, function in vars(module).items():
        made = vars(changed).get(name)
        if isinstance(function, FunctionType) and function.__module__ == module.__name__:
            assert isinstance(made, FunctionType)
            function.__code__ = made.__code__


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
