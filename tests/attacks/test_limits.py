"""Inputs that are too long, too many, or of the wrong kind (attack group DS)."""

import importlib
import pkgutil
import re
import time
from types import ModuleType
from urllib.parse import quote

import pytest

import idp.oauth
import idp.oauth.grants
import idp.policy
import idp.web
from idp.oauth import authorization_request, claims, clients, request
from idp.oauth.clients import problem_with_redirect_uri
from tests.attacks.wire import FORM, Request, Wire, basic, cookie
from tests.harness.provider import Flow, Idp

TOKEN_SIDE = ("/token", "/introspect", "/revoke", "/userinfo")
# CPU seconds: the answers take a few milliseconds; what is superlinear takes minutes.
PROMPT = 0.2


class Quickly:
    """Fails when the block took more CPU than anything honest takes."""

    def __init__(self, what: object) -> None:
        self.what = what

    def __enter__(self) -> None:
        self.began = time.process_time()

    def __exit__(self, *_: object) -> None:
        assert time.process_time() - self.began < PROMPT, self.what


@pytest.mark.attack("DS-04")
def test_parameters_beyond_their_limit_are_refused_at_once(idp: Idp, wire: Wire) -> None:
    app = idp.register()
    signed_in = cookie(idp.session(idp.person()))
    for name, value, error in (
        ("scope", "a " * 3_000, "invalid_scope"),
        ("scope", " ".join(["openid"] * 300), "invalid_scope"),
        ("scope", "x" * (authorization_request.SCOPE_MAXIMUM + 1), "invalid_scope"),
        ("scope", " " * 7_000, "invalid_scope"),
        ("state", "s" * (authorization_request.STATE_MAXIMUM + 1), "invalid_request"),
        ("nonce", "n" * (authorization_request.NONCE_MAXIMUM + 1), "invalid_request"),
        ("claims", "{" * 2_000, "invalid_request"),
        ("claims", "[" * 2_000, "invalid_request"),
        ("claims", " " * claims.PARAMETER_MAXIMUM + "{}", "invalid_request"),
        ("prompt", "login " * 1_000, None),
        ("max_age", "9" * 7_000, "invalid_request"),
        ("code_challenge", "A" * 7_000, "invalid_request"),
        ("id_token_hint", "a.b." * 1_700, "invalid_request"),
        ("id_token_hint", "A" * 7_000, "invalid_request"),
        ("acr_values", "x " * 3_000, None),
        ("login_hint", "x" * 7_000, None),
        ("unknown", "x" * 7_000, None),
    ):
        with Quickly(name):
            parameters = Flow(app).parameters(**{name: value})
            answer = wire.get("/authorize", parameters, cookie=signed_in)
        assert answer.status == 303, name
        if error:
            assert answer.error == error, (name, value[:20])
            assert ("state" in answer.redirected) == (name != "state")


@pytest.mark.attack("DS-04")
def test_a_query_that_is_longer_than_anything_honest_gets_a_page(idp: Idp, wire: Wire) -> None:
    app = idp.register()
    good = Flow(app).parameters()
    signed_in = cookie(idp.session(idp.person()))
    for name in (*good, "claims", "id_token_hint", "unknown"):
        for value in ("s " * 5_000, "x" * 60_000, "x" * 1_000_000):
            with Quickly((name, len(value))):
                answer = wire.get("/authorize", good | {name: value}, cookie=signed_in)
            assert (answer.status, answer.location) == (400, None)
    with Quickly("many"):
        room = request.PARAMETERS_MAXIMUM - len(good)
        answer = wire.get("/authorize", good | {f"a{number}": "1" for number in range(room + 1)})
    assert (answer.status, answer.location) == (400, None)
    answer = wire.get("/authorize", good | {f"a{number}": "1" for number in range(room)})
    assert answer.status == 303


def patterns() -> dict[str, re.Pattern[str]]:
    """Every regular expression that the protocol and the pages keep, by its name."""
    found: dict[str, re.Pattern[str]] = {}
    for package in (idp.oauth, idp.oauth.grants, idp.policy, idp.web):
        for entry in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            module: ModuleType = importlib.import_module(entry.name)
            for name, value in vars(module).items():
                if isinstance(value, re.Pattern):
                    found[f"{entry.name}.{name}"] = value
    return found


@pytest.mark.attack("DS-05")
def test_no_regular_expression_takes_long_over_a_hundred_kibibytes() -> None:
    found = patterns()
    assert {"idp.oauth.authorization_request._SCOPE", "idp.oauth.clients._URI"} <= set(found)
    size = 100 * 1024
    seeds = (
        "a", "A", " ", "a ", " a", "-", "_", "a-", ".", "a.", "0", "0.", "/", ":", "%", "%2e", "\n",
        "\t", "é", "\x00", "http://127.0.0.1:", "a@", "=", "ses_0", "../", "a\n", "{}", "[::1]",
    )  # fmt: skip
    for name, pattern in found.items():
        for seed in seeds:
            text = (seed * size)[:size]
            for ending in ("", "\x00", "\n", "!", " "):
                with Quickly((name, seed, ending)):
                    pattern.fullmatch(text + ending)


@pytest.mark.attack("DS-05")
def test_no_parameter_takes_long_whatever_it_is_filled_with(idp: Idp, wire: Wire) -> None:
    app = idp.register()
    signed_in = cookie(idp.session(idp.person()))
    for seed in ("a ", "A", "%20", "\x01", "é", "{", "\u2028", "-.", '"'):
        value = seed * (7_000 // len(quote(seed)))
        for name in Flow(app).parameters():
            with Quickly((name, seed)):
                answer = wire.get(
                    "/authorize", Flow(app).parameters(**{name: value}), cookie=signed_in
                )
            assert answer.status in (303, 400)
    for uri in ("https://a.example/" + "a/" * 50_000, "https://" + "a." * 50_000, "a" * 100_000):
        with Quickly("registration"):
            assert problem_with_redirect_uri(uri) is not None
            assert clients._problem_with_origin(uri) is not None


@pytest.mark.attack("DS-07")
@pytest.mark.parametrize("path", [*TOKEN_SIDE, "/authorize"])
def test_a_body_over_64_kibibytes_is_refused_unread(idp: Idp, wire: Wire, path: str) -> None:
    app = idp.register()
    body = b"token=" + b"x" * request.BODY_MAXIMUM
    with Quickly("body"):
        answer = wire.post(path, body, authorization=basic(app))
    assert answer.status in (400, 413)
    assert answer.location is None
    if path != "/authorize":
        assert (answer.status, answer.error) == (413, "invalid_request")
    at_limit = body[: request.BODY_MAXIMUM]
    assert wire.post(path, at_limit, authorization=basic(app)).status != 413


@pytest.mark.attack("DS-07")
@pytest.mark.parametrize("path", [*TOKEN_SIDE, "/authorize"])
def test_only_form_encoding_is_read(idp: Idp, wire: Wire, path: str) -> None:
    app = idp.register(scope="read")
    form = b"grant_type=client_credentials&token=x"
    parts = (
        b'--x\r\nContent-Disposition: form-data; name="grant_type"\r\n\r\n'
        b"client_credentials\r\n--x--\r\n"
    )
    for kind, body in (
        ("multipart/form-data; boundary=x", parts),
        ("multipart/form-data", parts),
        ("application/json", b'{"grant_type":"client_credentials","token":"x"}'),
        ("application/json", form),
        ("text/plain", form),
        (f"text/plain, {FORM}", form),
        (f"{FORM}x", form),
        ("", form),
    ):
        answer = wire.post(path, body, authorization=basic(app), content_type=kind)
        assert (answer.status, answer.location) == (400, None), kind
        if path != "/authorize":
            assert answer.error == "invalid_request", kind


@pytest.mark.attack("DS-07")
def test_a_form_may_say_its_charset(idp: Idp, wire: Wire) -> None:
    app = idp.register(scope="read")
    for kind in (FORM, f"{FORM};charset=UTF-8", f"{FORM} ; x=y", FORM.upper()):
        form = {"grant_type": "client_credentials"}
        answer = wire.post("/token", form, authorization=basic(app), content_type=kind)
        assert answer.status == 200, kind


@pytest.mark.attack("DS-07")
def test_a_body_that_breaks_off_is_refused(idp: Idp, wire: Wire) -> None:
    for body in (b"%", b"%zz=1", b"a=%ff", b"\xff=1", b"a=%00", b"%00=a", b"&&&", b"=", b"=x"):
        for path in TOKEN_SIDE:
            answer = wire.send(Request("POST", path, form=body))
            assert answer.status in (400, 401), (path, body)
            assert answer.error
