"""Random requests: never a server error, never a way to an address that is not registered."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.attacks.rules import check_authorization, check_token_side
from tests.attacks.wire import FORM, Request, Wire, basic, cookie
from tests.harness.provider import Flow, Idp, Registered

# The provider is the same for all examples of a test: nothing they do may break it for the next.
bounded = settings(
    max_examples=200,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
AUTHORIZE_NAMES = (
    "client_id", "redirect_uri", "response_type", "response_mode", "scope", "state", "nonce",
    "code_challenge", "code_challenge_method", "prompt", "display", "max_age", "ui_locales",
    "id_token_hint", "login_hint", "acr_values", "claims", "request", "request_uri", "x",
)  # fmt: skip
TOKEN_NAMES = (
    "grant_type", "code", "redirect_uri", "code_verifier", "refresh_token", "scope", "client_id",
    "client_secret", "client_assertion", "client_assertion_type", "token", "token_type_hint",
    "access_token", "x",
)  # fmt: skip
TELLING = (
    "", " ", "code", "token", "none", "login consent", "openid", "openid profile", "query", "S256",
    "https://evil.test/cb", "https://app.example/callback", "//evil.test", "javascript:alert(1)",
    "urn:ietf:params:oauth:request_uri:req_0", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    "authorization_code", "refresh_token", "client_credentials", "{}", '{"userinfo":{"email":null}}',
    "[" * 500, "[]", "null", "-1", "1e9", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", "WyJhbGciXQ.e30.AA",
    "at_AAAA", "rt_" + "A" * 70, "\r\nLocation: https://evil.test", "\x00", "\ud7ff", "ﬃ", "💥", "%",
)  # fmt: skip
values = st.one_of(st.sampled_from(TELLING), st.text(max_size=40))


def pairs(names: tuple[str, ...]) -> st.SearchStrategy[list[tuple[str, str]]]:
    known = st.sampled_from(names)
    return st.lists(st.tuples(known | known | st.text(max_size=8), values), max_size=6)


@pytest.fixture
def idp(either_idp: Idp) -> Idp:
    """On both databases: what one of them cannot store must not get as far as to it."""
    return either_idp


@pytest.fixture
def app(idp: Idp) -> Registered:
    return idp.register()


@pytest.fixture
def signed_in(idp: Idp) -> str:
    return cookie(idp.session(idp.person()))


@pytest.fixture
def apps(idp: Idp) -> list[Registered]:
    return [idp.register(), idp.register(access_token_format="jwt")]


@pytest.fixture
def tokens(idp: Idp, apps: list[Registered]) -> list[str]:
    """Good tokens of every form, two of each app."""
    started = idp.session(idp.person())
    found = [idp.grant(client, started) for client in apps]
    return [one[kind] for one in found for kind in ("access_token", "refresh_token")]


@bounded
@given(changes=pairs(AUTHORIZE_NAMES), is_signed_in=st.booleans(), appended=st.booleans())
def test_the_authorization_endpoint_survives_anything(
    wire: Wire,
    app: Registered,
    signed_in: str,
    changes: list[tuple[str, str]],
    is_signed_in: bool,
    appended: bool,
) -> None:
    headers = {"cookie": signed_in} if is_signed_in else {}
    good = Flow(app).parameters()
    sent = [*good.items(), *changes] if appended else list((good | dict(changes)).items())
    check_authorization(wire.get("/authorize", sent, **headers), app.redirect_uri)


pieces = st.sampled_from(
    ("https:", "http:", "//", "/", "app.example", "evil.test", "@", ":", "443", "?", "#", "\\", ".",
     "callback", "%2f", "%00", ";", "..", "&", "=", " ", "\t", "javascript:", "é", "[", "]", "*")
)  # fmt: skip


@bounded
@given(before=st.lists(pieces, max_size=3), kept=st.booleans(), after=st.lists(pieces, max_size=4))
def test_no_address_but_the_registered_one_gets_an_answer(
    wire: Wire, app: Registered, signed_in: str, before: list[str], kept: bool, after: list[str]
) -> None:
    uri = "".join([*before, app.redirect_uri * kept, *after])
    parameters = Flow(app).parameters(redirect_uri=uri)
    answer = wire.get("/authorize", parameters, cookie=signed_in)
    if uri != app.redirect_uri:
        assert (answer.status, answer.location) == (400, None)


@bounded
@given(query=st.binary(max_size=200), cookies=st.binary(max_size=60))
def test_the_authorization_endpoint_survives_any_bytes(
    wire: Wire, query: bytes, cookies: bytes
) -> None:
    answer = wire.send(
        Request("GET", "/authorize", query, headers={"cookie": cookies.decode("latin-1")})
    )
    check_authorization(answer, "https://nowhere.example")
    posted = wire.send(Request("POST", "/authorize", form=query))
    assert posted.status in (303, 400)
    assert (posted.location or "/authorize?").startswith("/authorize?")


@bounded
@given(
    path=st.sampled_from(["/token", "/introspect", "/revoke", "/userinfo"]),
    changes=pairs(TOKEN_NAMES),
    authorization=st.one_of(
        st.none(),
        st.just("the app's"),
        st.text(max_size=30).map(lambda text: f"Basic {text}"),
        st.text(max_size=30).map(lambda text: f"Bearer {text}"),
        st.text(max_size=30),
    ),
)
def test_the_token_side_survives_anything(
    wire: Wire,
    app: Registered,
    path: str,
    changes: list[tuple[str, str]],
    authorization: str | None,
) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    if authorization == "the app's":
        headers = {"authorization": basic(app)}
    check_token_side(wire.send(Request("POST", path, form=changes, headers=headers)))


@bounded
@given(
    path=st.sampled_from(["/token", "/introspect", "/revoke", "/userinfo"]),
    body=st.binary(max_size=200),
    kind=st.one_of(st.just(FORM), st.text(max_size=20)),
)
def test_the_token_side_survives_any_bytes(
    wire: Wire, app: Registered, path: str, body: bytes, kind: str
) -> None:
    headers = {"authorization": basic(app), "content-type": kind}
    check_token_side(wire.send(Request("POST", path, form=body, headers=headers)))


@bounded
@given(
    at=st.integers(0, 200), to=st.characters(codec="ascii", min_codepoint=1), kind=st.integers(0, 3)
)
def test_no_token_with_one_character_changed_is_good(
    wire: Wire, apps: list[Registered], tokens: list[str], at: int, to: str, kind: int
) -> None:
    good = tokens[kind]
    position = at % len(good)
    changed = good[:position] + to + good[position + 1 :]
    # Another way to write the same bytes, in base64 or around it, is no other token.
    same = changed.strip().translate(str.maketrans("+/", "-_")) == good
    if same or position == len(good) - 1:
        return
    answer = wire.post("/introspect", {"token": changed}, authorization=basic(apps[kind // 2]))
    assert answer.json == {"active": False}
