"""Every parameter of every endpoint, wrong in every way: the error its specification names."""

from urllib.parse import quote, urlencode

import pytest

from tests.attacks.rules import check_authorization, check_token_side
from tests.attacks.wire import Answer, Request, Wire, basic, cookie
from tests.harness.provider import Flow, Idp, Registered

SIGNED_IN = "a code"
LOGIN, CONSENT = "/login", "/consent"
PAGE = "a page"
INVALID = "invalid_request"
# What /authorize makes of each wrong value. "a code" and the paths: it is accepted.
AUTHORIZE: dict[str, dict[str, str]] = {
    "client_id": {"": PAGE, "cli_other": PAGE, "ü": PAGE, "a" * 70: PAGE},
    "redirect_uri": {"": PAGE, "https://evil.test/": PAGE, "x": PAGE},
    "response_type": {
        "": INVALID, "token": "unsupported_response_type", "code token": "unsupported_response_type",
        "ü": "unsupported_response_type",
    },
    "response_mode": {"": SIGNED_IN, "query": SIGNED_IN, "fragment": INVALID, "x": INVALID},
    "scope": {
        "": SIGNED_IN, "openid openid": SIGNED_IN, "openid x": SIGNED_IN, "x": "invalid_scope",
        "openid\tprofile": "invalid_scope", 'openid "x"': "invalid_scope", "ö": "invalid_scope",
        "openid\\x": "invalid_scope", " openid": "invalid_scope", "openid ": "invalid_scope",
        "OPENID": "invalid_scope",
    },
    "state": {"": SIGNED_IN, "ü": INVALID, "a\nb": INVALID, "\x7f": INVALID, "\u2028": INVALID},
    "nonce": {"": SIGNED_IN, "ü\n": SIGNED_IN, "n" * 1_025: INVALID},
    "code_challenge": {"": INVALID, "short": INVALID, "A" * 44: INVALID, "A" * 42 + "=": INVALID},
    "code_challenge_method": {"": INVALID, "plain": INVALID, "S256 ": INVALID},
    "prompt": {
        "": SIGNED_IN, "none": SIGNED_IN, "login": LOGIN, "consent": CONSENT, "select_account": LOGIN,
        "login consent": LOGIN, "none login": INVALID, "none none": SIGNED_IN, "create": INVALID,
        "Login": INVALID, "login,consent": INVALID,
    },
    "display": {"": SIGNED_IN, "page": SIGNED_IN, "wap": SIGNED_IN, "x": INVALID},
    "max_age": {
        "": SIGNED_IN, "0": SIGNED_IN, "10000": SIGNED_IN, "-1": INVALID, "1.5": INVALID, "x": INVALID,
        "1e3": INVALID, "0x10": INVALID, "9" * 10: INVALID, "\u0661": INVALID, " 1": INVALID,
    },
    "ui_locales": {"": SIGNED_IN, "de-CH fr": SIGNED_IN, "ü" * 99: SIGNED_IN},
    "claims_locales": {"de": SIGNED_IN},
    "acr_values": {"aal1": SIGNED_IN, "x y": SIGNED_IN},
    "login_hint": {"alice": SIGNED_IN, "ü": SIGNED_IN, "<script>": SIGNED_IN},
    "id_token_hint": {"": SIGNED_IN, "x": INVALID, "a.b.c": INVALID, "..": INVALID},
    "claims": {
        "": SIGNED_IN, "{}": SIGNED_IN, "x": INVALID, "[]": INVALID, "null": INVALID, "1": INVALID,
        '{"userinfo":1}': INVALID, '{"userinfo":[]}': INVALID, '{"userinfo":{"name":1}}': INVALID,
        '{"userinfo":null}': SIGNED_IN, '{"id_token":{"x":null}}': SIGNED_IN, "{": INVALID,
        '{"userinfo":{"name":{"essential":true}},"other":1}': SIGNED_IN, "{}{}": INVALID,
        '{"userinfo":{"name":"x"}}': INVALID, '{"id_token":{"a":{}},"userinfo":{"b":[]}}': INVALID,
    },
    "request": {"": SIGNED_IN, "x": "request_not_supported", "a.b.": "request_not_supported"},
    "request_uri": {
        "": SIGNED_IN, "https://evil.test/r": "request_uri_not_supported",
        "urn:x": "request_uri_not_supported", "urn:ietf:params:oauth:request_uri:x": PAGE,
    },
    "registration": {
        "": SIGNED_IN, "{}": "registration_not_supported", "x": "registration_not_supported",
    },
    "unknown": {"": SIGNED_IN, "x": SIGNED_IN, "ü\x01\n": SIGNED_IN},
    "code": {"x": SIGNED_IN},
    "error": {"x": SIGNED_IN},
    "iss": {"x": SIGNED_IN},
}  # fmt: skip
UNREADABLE = (b"%00", b"a%00b", b"%ff", b"%c3", b"%ed%a0%80", b"\xff\xfe", b"%C0%AF")


@pytest.fixture
def app(idp: Idp) -> Registered:
    return idp.register()


@pytest.fixture
def signed_in(idp: Idp) -> str:
    return cookie(idp.session(idp.person()))


def outcome(answer: Answer) -> str:
    if answer.location is None:
        return PAGE
    if answer.location.startswith("/"):
        return answer.location.partition("?")[0]
    return answer.error or SIGNED_IN


def test_a_wrong_value_at_the_authorization_endpoint(
    wire: Wire, app: Registered, signed_in: str
) -> None:
    for name, value, expected in (
        (name, value, expected)
        for name, outcomes in AUTHORIZE.items()
        for value, expected in outcomes.items()
    ):
        flow = Flow(app)
        good = flow.parameters()
        answer = wire.get("/authorize", good | {name: value}, cookie=signed_in)
        state = value if name == "state" else flow.state
        check_authorization(answer, app.redirect_uri, state=state or None)
        assert outcome(answer) == expected, (name, value)
        # The same by POST, which becomes a GET.
        turned = wire.post("/authorize", good | {name: value})
        assert turned.status == 303
        query = (turned.location or "").removeprefix("/authorize?").encode()
        assert outcome(wire.get("/authorize", query, cookie=signed_in)) == expected, (name, value)


def test_a_parameter_twice_or_unreadable_at_the_authorization_endpoint(
    wire: Wire, app: Registered, signed_in: str
) -> None:
    for name in AUTHORIZE:
        good = Flow(app).parameters()
        value = good.pop(name, "x")
        expected = {PAGE} if name in ("client_id", "redirect_uri") else {INVALID}
        if name in ("request", "request_uri", "registration"):
            # Which of the two faults is named first does not matter.
            expected.add(f"{name}_not_supported")
        for second in (value, "other", ""):
            pairs = [(name, second), *good.items(), (name, value)]
            answer = wire.get("/authorize", pairs, cookie=signed_in)
            check_authorization(answer, app.redirect_uri)
            assert outcome(answer) in expected, (name, second)
            assert wire.post("/authorize", pairs).status == 400
        rest = urlencode(good).encode()
        for raw in UNREADABLE:
            for query in (b"%s=%s&%s" % (name.encode(), raw, rest), b"%s&x%s=1" % (rest, raw)):
                assert outcome(wire.get("/authorize", query, cookie=signed_in)) == PAGE


def test_state_comes_back_byte_for_byte(wire: Wire, app: Registered, signed_in: str) -> None:
    every = "".join(chr(code) for code in range(0x20, 0x7F))
    for state in (
        every,
        "a+b c&d=e#f%20g",
        "%%%",
        "=",
        "x" * 4_096,
        "0",
        " ",
        "  a  ",
        "..//",
        "%0d",
    ):
        for extra in ({}, {"response_type": "token"}, {"prompt": "none", "max_age": "x"}):
            good = Flow(app).parameters(state=None) | extra
            for query in (
                urlencode(good | {"state": state}),
                f"{urlencode(good)}&state={quote(state, safe='')}",
            ):
                answer = wire.get("/authorize", query.encode(), cookie=signed_in)
                check_authorization(answer, app.redirect_uri, state=state)
    answer = wire.get("/authorize", Flow(app).parameters(state=None), cookie=signed_in)
    assert "state" not in answer.redirected
    assert "code" in answer.redirected


# --- the token side -------------------------------------------------------------------------

TOKEN: dict[str, dict[str, str | None]] = {
    "grant_type": {
        "": INVALID, "x": "unsupported_grant_type", "password": "unsupported_grant_type",
        "implicit": "unsupported_grant_type", "ü": "unsupported_grant_type",
        "urn:ietf:params:oauth:grant-type:token-exchange": "unsupported_grant_type",
        # Supported, but its code is missing.
        "urn:ietf:params:oauth:grant-type:device_code": "invalid_request",
        "AUTHORIZATION_CODE": "unsupported_grant_type", "authorization_code": INVALID,
        "refresh_token": INVALID, "client_credentials": None, "client_credentials ":
        "unsupported_grant_type",
    },
    "scope": {"": None, "read": None, "x": "invalid_scope", "ü": "invalid_scope",
              "read\t": "invalid_scope", "openid": "invalid_scope"},
    "client_id": {"": None, "cli_other": INVALID, "ü": INVALID},
    "client_secret": {"": None, "x": INVALID},
    "client_assertion": {"": None, "x": INVALID},
    "client_assertion_type": {"": None, "x": INVALID},
    "code": {"x": None},
    "refresh_token": {"x": None},
    "redirect_uri": {"x": None},
    "code_verifier": {"x": None},
    "unknown": {"": None, "ü\x01": None},
    "resource": {"https://x.example": None},
}  # fmt: skip


def test_a_wrong_value_at_the_token_endpoint(idp: Idp, wire: Wire) -> None:
    app = idp.register(scope="openid read")
    good = {"grant_type": "client_credentials"}
    for name, outcomes in TOKEN.items():
        for value, expected in outcomes.items():
            answer = wire.post("/token", good | {name: value}, authorization=basic(app))
            check_token_side(answer)
            assert answer.json.get("error") == expected, (name, value)


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/token", list(TOKEN)),
        ("/introspect", ["token", "token_type_hint", "client_id", "unknown"]),
        ("/revoke", ["token", "token_type_hint", "client_id", "unknown"]),
        ("/userinfo", ["access_token", "unknown"]),
    ],
)
def test_a_parameter_twice_or_unreadable_at_the_token_side(
    idp: Idp, wire: Wire, path: str, names: list[str]
) -> None:
    app = idp.register(scope="openid read")
    good = {"grant_type": "client_credentials", "token": "x"}
    headers = {} if path == "/userinfo" else {"authorization": basic(app)}
    for name in names:
        value = good.get(name, "x")
        twice = [*good.items(), (name, value)] + ([] if name in good else [(name, value)])
        bodies = [urlencode(twice).encode()]
        bodies += [b"%s=%s" % (name.encode(), raw) for raw in UNREADABLE]
        bodies += [b"&".join([b"a%d=1" % n for n in range(65)])]
        for body in bodies:
            answer = wire.post(path, body, **headers)
            check_token_side(answer)
            assert (answer.status, answer.error) == (400, INVALID), (path, name, body[:80])


@pytest.mark.parametrize("path", ["/introspect", "/revoke"])
def test_a_wrong_token_at_introspection_and_revocation(idp: Idp, wire: Wire, path: str) -> None:
    app, public = (
        idp.register(),
        idp.register(token_endpoint_auth_method="none", grant_types=["authorization_code"]),
    )
    nothing = {"active": False} if path == "/introspect" else {}
    for token in ("x", "ü", "a.b.c", "..", "at_", "rt_", "at_" + "A" * 9_000, "\x01", " ", "null"):
        for hint in ("access_token", "refresh_token", "x", ""):
            form = {"token": token, "token_type_hint": hint}
            answer = wire.post(path, form, authorization=basic(app))
            check_token_side(answer)
            assert (answer.status, answer.json) == (200, nothing), token
    answer = wire.post(path, {}, authorization=basic(app))
    assert (answer.status, answer.error) == (400, INVALID)
    for form in ({}, {"token": "x"}, {"token": "x", "client_id": app.id}):
        answer = wire.post(path, form)
        check_token_side(answer)
        assert (answer.status, answer.error) == (401, "invalid_client")
    answer = wire.post(path, {"token": "x", "client_id": public.id})
    check_token_side(answer)
    assert answer.status == (401 if path == "/introspect" else 200)


def test_a_wrong_token_at_userinfo(idp: Idp, wire: Wire) -> None:
    tokens = idp.grant(idp.register(), idp.session(idp.person()))
    good = tokens["access_token"]
    for header, status, error in (
        ("", 401, None), ("Bearer", 401, None), ("Bearer ", 401, None), ("Basic x", 401, None),
        (good, 401, None), (f"DPoP {good}", 401, None), ("Bearer x", 401, "invalid_token"),
        (f"Bearer {good}x", 401, "invalid_token"), (f"Bearer ü{good}", 401, "invalid_token"),
        (f"Bearer {good} {good}", 401, "invalid_token"), (f"Bearer {good},", 401, "invalid_token"),
        (f"Bearer {tokens['refresh_token']}", 401, "invalid_token"),
    ):  # fmt: skip
        for answer in (
            wire.get("/userinfo", authorization=header),
            wire.post("/userinfo", b"", authorization=header),
        ):
            check_token_side(answer)
            challenge = answer.header("www-authenticate") or ""
            assert (answer.status, challenge.startswith('Bearer realm="')) == (status, True), header
            assert ('error="' in challenge) == (error is not None), header
    # RFC 6750 section 2: one way a request; section 2.3, in the query, is none of ours.
    twice = wire.post("/userinfo", {"access_token": good}, authorization=f"Bearer {good}")
    assert (twice.status, twice.error) == (400, INVALID)
    assert wire.get("/userinfo", {"access_token": good}).status == 401
    assert wire.post("/userinfo", {"access_token": good}).status == 200
    assert wire.get("/userinfo", authorization=f"bEARER {good}").status == 200


def test_other_methods_are_refused_and_say_which_are_allowed(wire: Wire) -> None:
    for path, allowed in (
        ("/authorize", "GET, POST"),
        ("/token", "POST, OPTIONS"),
        ("/introspect", "POST, OPTIONS"),
        ("/revoke", "POST, OPTIONS"),
        ("/userinfo", "GET, POST, OPTIONS"),
        ("/jwks", "GET, HEAD, OPTIONS"),
    ):
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "TRACE", "get", "X"):
            if method not in allowed.split(", "):
                answer = wire.send(Request(method, path))
                assert (answer.status, answer.header("allow")) == (405, allowed), (path, method)
