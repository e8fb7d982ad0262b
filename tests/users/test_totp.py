import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pyotp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from idp.clock import SECOND
from idp.errors import Refused
from idp.events.actor import Actor
from idp.policy.assurance import Authentication
from idp.storage.vault import Unreadable, Vault
from idp.users import totp
from idp.users.credentials import Totp
from idp.users.model import User
from tests.harness.provider import Idp, settings_for
from tests.harness.workbench import SECRET

ANOTHER_SECRET = "another secret for tests, also long enough"


@pytest.fixture
def alice(idp: Idp) -> User:
    return idp.person("alice")


def code_of(idp: Idp, secret: str, *, steps: int = 0) -> str:
    """What an app with this secret shows now, or shows so many steps later."""
    return pyotp.TOTP(secret).generate_otp(idp.clock.now() // totp.PERIOD + steps)


def enrol(
    idp: Idp, user: User, *, secret: str | None = None, code: str | None = None, name: str = "Phone"
) -> tuple[Totp, str]:
    """An app that was added, and its secret; the clock then stands at a step of its own."""
    secret = totp.propose(idp.settings, user).secret if secret is None else secret
    with idp.work.begin() as unit:
        added = totp.enrol(
            unit,
            user,
            secret=secret,
            code=code_of(idp, secret) if code is None else code,
            name=name,
            actor=Actor("user", user.id),
        )
    idp.clock.advance(10 * totp.PERIOD)
    return added, secret


def verify(idp: Idp, user: User, code: str) -> Authentication | None:
    with idp.work.begin() as unit:
        return totp.verify(unit, user.id, code)


def refused(attempt: Callable[[], Any]) -> Refused:
    with pytest.raises(Refused) as caught:
        attempt()
    return caught.value


# --- Proposing ------------------------------------------------------------------------------


def test_a_proposal_is_160_bits_and_never_the_same(idp: Idp, alice: User) -> None:
    secrets = {totp.propose(idp.settings, alice).secret for _ in range(20)}
    assert len(secrets) == 20
    assert all(re.fullmatch("[A-Z2-7]{32}", one) for one in secrets)


def test_the_uri_names_us_and_the_account_as_apps_expect_it(idp: Idp) -> None:
    user = idp.person("anna.müller", email="a@example.com")
    settings = settings_for(idp.settings.database_url, name="Acme: Häuser & Co")
    proposal = totp.propose(settings, user)
    parts = urlsplit(proposal.uri)
    assert (parts.scheme, parts.netloc) == ("otpauth", "totp")
    issuer, colon, account = parts.path.removeprefix("/").partition(":")
    assert (unquote(issuer), colon, unquote(account)) == (settings.name, ":", "anna.müller")
    assert parse_qs(parts.query) == {"secret": [proposal.secret], "issuer": [settings.name]}
    assert pyotp.parse_uri(proposal.uri).now() == pyotp.TOTP(proposal.secret).now()


def test_the_image_is_black_on_white_scales_and_has_a_name(idp: Idp, alice: User) -> None:
    svg = totp.propose(idp.settings, alice).qr
    image = ET.fromstring(svg)
    space = "{http://www.w3.org/2000/svg}"
    assert image.tag == f"{space}svg"
    assert image.get("role") == "img"
    assert image[0].tag == f"{space}title"
    assert image[0].text
    _, _, width, height = map(int, (image.get("viewBox") or "").split())
    assert width == height >= 21 + 8
    paper, modules = image[1], image[2]
    assert (paper.get("fill"), modules.get("fill")) == ("#fff", "#000")
    assert paper.get("d") == f"M0,0H{width}V{height}H0z"
    # The quiet zone: nothing dark in the outer four modules.
    drawn = [int(number) for number in re.findall(r"\d+", modules.get("d") or "")]
    assert min(drawn) == 4
    assert max(drawn) == width - 4
    # It stands in a page whose content security policy takes no styles and scripts from a page.
    assert "style" not in svg
    assert "<?xml" not in svg


@pytest.mark.parametrize("username", ["x" * 255, "\U00020000" * 255, "<script>&\"'"])
def test_any_user_name_there_can_be_fits_into_the_image(idp: Idp, username: str) -> None:
    settings = settings_for(idp.settings.database_url, name="ü" * 40)
    proposal = totp.propose(settings, User(id="usr_x", username=username))
    ET.fromstring(proposal.qr)
    assert pyotp.parse_uri(proposal.uri).secret == proposal.secret


# --- Adding ---------------------------------------------------------------------------------


def test_an_app_is_added_once_it_showed_a_right_code(idp: Idp, alice: User) -> None:
    added, secret = enrol(idp, alice, name="  My   phone ")
    assert (added.name, added.user_id, added.last_used_at) == ("My phone", alice.id, None)
    assert verify(idp, alice, code_of(idp, secret)) == Authentication(
        "totp", ("otp",), "aal1", added.id
    )
    [event] = idp.events("factor.added")
    assert (event["user_id"], event["actor"], event["actor_id"]) == (alice.id, "user", alice.id)


def test_without_a_right_code_nothing_is_added(idp: Idp, alice: User) -> None:
    proposal = totp.propose(idp.settings, alice)
    right = code_of(idp, proposal.secret)
    wrong = [f"{(int(right) + 1) % 1_000_000:06}", "", "000", right + "0", "abcdef", "١٢٣٤٥٦"]
    for code in wrong:
        with pytest.raises(Refused, match="wrong_code"):
            enrol(idp, alice, secret=proposal.secret, code=code)
    assert idp.count("totps") == 0
    assert idp.events("factor.added") == []


@pytest.mark.parametrize(
    "secret",
    ["", "A" * 31, "A" * 33, "a" * 32, "A" * 31 + "1", "A" * 31 + "=", "A" * 32 + "\n", "Ａ" * 32],
)
def test_a_secret_that_was_not_made_here_is_refused(idp: Idp, alice: User, secret: str) -> None:
    assert refused(lambda: enrol(idp, alice, secret=secret, code="123456")).code == "invalid_secret"


def test_nobody_has_more_than_ten(idp: Idp, alice: User) -> None:
    for _ in range(10):
        enrol(idp, alice)
    one_more = refused(lambda: enrol(idp, alice))
    assert (one_more.code, one_more.status) == ("too_many_factors", 409)
    with idp.work.begin() as unit:
        totp.remove(unit, totp.of(unit, alice.id)[3], Actor("user", alice.id))
    enrol(idp, alice)
    enrol(idp, idp.person("bob"))


@pytest.mark.attack("MF-05")
def test_one_secret_is_not_added_twice(idp: Idp, alice: User) -> None:
    """MF-05: two rows with one secret would take each code twice."""
    _, secret = enrol(idp, alice)
    again = refused(lambda: enrol(idp, alice, secret=secret))
    assert (again.code, again.status) == ("already_added", 409)


@pytest.mark.parametrize("name", ["x" * 61, "phone\u202eenohp", "a\u200bb", "nul\x00", "\ud800"])
def test_a_name_that_cannot_be_seen_whole_is_refused(idp: Idp, alice: User, name: str) -> None:
    assert refused(lambda: enrol(idp, alice, name=name)).code == "invalid_label"
    added, _ = enrol(idp, alice)
    with idp.work.begin() as unit:
        mine = totp.one_of(unit, alice.id, added.id)
        assert mine is not None
        assert refused(lambda: totp.rename(unit, mine, name, Actor("user"))).code == "invalid_label"


# --- Checking -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spelled", ["{0}{1}", "{0} {1}", " {0}{1}\n", "{0}\u00a0{1}", "\t{0} {1} "]
)
def test_spaces_in_a_code_are_forgiven(idp: Idp, alice: User, spelled: str) -> None:
    _, secret = enrol(idp, alice)
    code = code_of(idp, secret)
    assert verify(idp, alice, spelled.format(code[:3], code[3:])) is not None


@given(st.text(max_size=80))
def test_what_is_not_six_digits_is_not_looked_at(typed: str) -> None:
    digits = totp._digits(typed)
    assert digits is None or re.fullmatch("[0-9]{6}", digits)


@pytest.mark.parametrize("wrong", ["１２３４５６", "12345", "1234567", "-12345", "12345.", "", " "])
def test_only_six_plain_digits_can_be_a_code(wrong: str) -> None:
    assert totp._digits(wrong) is None


@pytest.mark.attack("MF-05")
def test_a_code_counts_once_also_in_its_next_steps(idp: Idp, alice: User) -> None:
    """MF-05: a code that was taken is refused for as long as its step is in the window."""
    _, secret = enrol(idp, alice)
    early = code_of(idp, secret, steps=1)
    assert verify(idp, alice, early) is not None
    for _ in range(3):
        assert verify(idp, alice, early) is None
        idp.clock.advance(totp.PERIOD)


@pytest.mark.attack("MF-05")
def test_no_code_from_before_one_that_was_taken_is_taken(idp: Idp, alice: User) -> None:
    """MF-05: a code that was overheard is worth nothing once a later one was used."""
    _, secret = enrol(idp, alice)
    overheard, present = code_of(idp, secret, steps=-1), code_of(idp, secret)
    assert verify(idp, alice, present) is not None
    assert verify(idp, alice, overheard) is None


@pytest.mark.attack("MF-05")
def test_the_code_that_added_an_app_does_not_sign_in(idp: Idp, alice: User) -> None:
    """MF-05: the enrolment's code counts as used."""
    secret = totp.propose(idp.settings, alice).secret
    code = code_of(idp, secret)
    enrol(idp, alice, secret=secret, code=code)
    idp.clock.advance(-10 * totp.PERIOD)
    assert verify(idp, alice, code) is None


@pytest.mark.attack("MF-05")
def test_a_code_that_two_steps_share_counts_once(
    idp: Idp, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MF-05: by chance, the code of the last step may be that of the next: it is used for both."""
    enrol(idp, alice)
    present = idp.clock.now() // totp.PERIOD
    alike = {present - 1: "424242", present: "111111", present + 1: "424242"}
    monkeypatch.setattr(pyotp.TOTP, "generate_otp", lambda self, step: alike.get(step, "000000"))
    assert verify(idp, alice, "424242") is not None
    for _ in range(3):
        assert verify(idp, alice, "424242") is None
        idp.clock.advance(totp.PERIOD)


@pytest.mark.parametrize("window", [0, 1, 2])
def test_a_code_is_taken_in_its_step_and_the_window_around_it(
    idp: Idp, alice: User, window: int
) -> None:
    """ASVS 6.5.5: thirty seconds, and what `assurance.totp_window` adds on either side."""
    _, secret = enrol(idp, alice)
    assurance = idp.settings.assurance.model_copy(update={"totp_window": window})
    idp.work.settings = idp.settings.model_copy(update={"assurance": assurance})
    start = idp.clock.now() // totp.PERIOD * totp.PERIOD
    step = start // totp.PERIOD
    code = pyotp.TOTP(secret).generate_otp(step)
    taken = []
    for offset in range(-100, 130, 5):
        idp.clock.instant = start + offset * SECOND
        with idp.work.read() as unit:  # rolled back, so that each moment is asked afresh
            if totp.verify(unit, alice.id, code) is not None:
                taken.append(offset)
    assert (taken[0], taken[-1]) == (-30 * window, 30 * (window + 1) - 5)
    assert taken == list(range(taken[0], taken[-1] + 5, 5))


def test_any_of_several_apps_will_do_and_says_which_it_was(idp: Idp, alice: User) -> None:
    apps = [enrol(idp, alice) for _ in range(3)]
    for added, secret in reversed(apps):
        proof = verify(idp, alice, code_of(idp, secret))
        assert proof is not None
        assert proof.credential == added.id
    with idp.work.read() as unit:
        assert [one.last_used_at for one in totp.of(unit, alice.id)] == [idp.clock.now()] * 3


@pytest.mark.attack("MF-10")
def test_a_code_of_one_person_is_worth_nothing_for_another(idp: Idp, alice: User) -> None:
    """MF-10: each person's apps are theirs alone."""
    bob = idp.person("bob")
    _, secret = enrol(idp, alice)
    enrol(idp, bob)
    assert verify(idp, bob, code_of(idp, secret)) is None
    assert verify(idp, idp.person("carol"), code_of(idp, secret)) is None


# --- What is kept ---------------------------------------------------------------------------


def test_a_secret_is_sealed_and_opens_only_in_its_own_row(idp: Idp, alice: User) -> None:
    added, secret = enrol(idp, alice)
    bob = idp.person("bob")
    other, _ = enrol(idp, bob)
    assert secret not in added.secret
    # Copied to another person's row, it does not become their app.
    idp.execute("UPDATE totps SET secret = :it WHERE id = :id", it=added.secret, id=other.id)
    with pytest.raises(Unreadable):
        verify(idp, bob, code_of(idp, secret))


def test_a_proposal_does_not_show_its_secret_where_it_is_printed(idp: Idp, alice: User) -> None:
    proposal = totp.propose(idp.settings, alice)
    assert proposal.secret not in repr(proposal)


def test_secrets_are_sealed_again_under_a_new_secret_key(idp: Idp, alice: User) -> None:
    _, secret = enrol(idp, alice)
    enrol(idp, alice)
    idp.work.vault = Vault(ANOTHER_SECRET, (SECRET,))
    with idp.work.begin() as unit:
        assert totp.reseal(unit, after="") == (2, None)
        assert totp.reseal(unit, after="") == (0, None)
    idp.work.vault = Vault(ANOTHER_SECRET)
    assert verify(idp, alice, code_of(idp, secret)) is not None


def test_sealing_again_goes_in_batches(
    idp: Idp, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(totp, "_BATCH", 2)
    for _ in range(5):
        enrol(idp, alice)
    idp.work.vault = Vault(ANOTHER_SECRET, (SECRET,))
    sealed, after = [], ""
    while after is not None:
        with idp.work.begin() as unit:
            changed, after = totp.reseal(unit, after=after)
        sealed.append(changed)
    assert sealed == [2, 2, 1]


# --- Naming and removing --------------------------------------------------------------------


def test_an_app_is_renamed(idp: Idp, alice: User) -> None:
    added, _ = enrol(idp, alice)
    for name in ("Old phone", "Old phone", " "):
        with idp.work.begin() as unit:
            mine = totp.one_of(unit, alice.id, added.id)
            assert mine is not None
            totp.rename(unit, mine, name, Actor("user", alice.id))
    with idp.work.read() as unit:
        assert [one.name for one in totp.of(unit, alice.id)] == ["Authenticator app"]
    # What was its name already is not a change.
    assert len(idp.events("factor.renamed")) == 2


def test_somebody_elses_app_cannot_be_named(idp: Idp, alice: User) -> None:
    added, _ = enrol(idp, alice)
    with idp.work.read() as unit:
        assert totp.one_of(unit, "usr_bob", added.id) is None
        assert totp.one_of(unit, alice.id, "otp_missing") is None


def test_a_removed_app_fails_at_once(either_idp: Idp) -> None:
    """ASVS 6.5.6: any factor can be revoked."""
    idp = either_idp
    alice = idp.person("alice")
    added, secret = enrol(idp, alice)
    _, kept = enrol(idp, alice)
    with idp.work.begin() as unit:
        mine = totp.one_of(unit, alice.id, added.id)
        assert mine is not None
        totp.remove(unit, mine, Actor("user", alice.id))
        assert [one.id for one in totp.of(unit, alice.id)] != [added.id]
        # Twice, as from two tabs: once gone.
        totp.remove(unit, mine, Actor("user", alice.id))
    assert verify(idp, alice, code_of(idp, secret)) is None
    assert verify(idp, alice, code_of(idp, kept)) is not None
    [event] = idp.events("factor.removed")
    assert (event["user_id"], added.id in str(event["data"])) == (alice.id, True)
    with idp.work.read() as unit:
        assert unit.orm.scalars(select(Totp.id)).all() != [added.id]
