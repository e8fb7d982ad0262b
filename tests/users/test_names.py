import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.errors import Refused
from idp.users import names


@pytest.mark.attack("BF-04")
@pytest.mark.parametrize(
    "spelled, canonical",
    [
        ("anna", "anna"),
        ("  Anna ", "anna"),
        ("ANNA", "anna"),
        ("Ａｎｎａ", "anna"),  # full width
        ("ﬁona", "fiona"),  # ligature
        ("Straße", "strasse"),
        ("Jose\u0301", "josé"),
        ("josé", "josé"),
        ("ΟΔΥΣΣΕΥΣ", "οδυσσευσ"),
        ("οδυσσευς", "οδυσσευσ"),  # final sigma
        ("Anna@Example.COM", "anna@example.com"),
        ("anna+shop@example.com", "anna+shop@example.com"),
        ("anna@münchen.example", "anna@xn--mnchen-3ya.example"),
        ("anna@xn--mnchen-3ya.example", "anna@xn--mnchen-3ya.example"),
        ("o'brien-smith_3", "o'brien-smith_3"),
    ],
)
def test_every_spelling_of_a_name_has_one_canonical_form(spelled: str, canonical: str) -> None:
    assert names.canonical(spelled) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "a b",
        "a\u00a0b",
        "a\tb",
        "a\nb",
        "a\r\nb",
        "a\x00b",
        "a\x7fb",
        "a\u200bb",  # zero width space
        "a\u202eb",  # right-to-left override
        "a\ufeffb",
        "a\u3164b",  # Hangul filler, a letter that shows nothing
        "a\ufe0fb",  # variation selector
        "a\ud800b",  # half a character
        "a\ue000b",  # private use
        "x" * 256,
        "x" * 100_000,
    ],
)
def test_a_name_with_spaces_or_invisible_characters_is_refused(text: str) -> None:
    with pytest.raises(Refused) as refused:
        names.canonical(text)
    assert refused.value.code == "invalid_name"


def test_a_look_alike_domain_is_another_name() -> None:
    # The first letter is Cyrillic.
    assert names.canonical("anna@аpple.com") == "anna@xn--pple-43d.com"


@given(st.text(max_size=60))
def test_the_canonical_form_of_a_canonical_form_is_itself(text: str) -> None:
    try:
        name = names.canonical(text)
    except Refused:
        return
    assert names.canonical(name) == name


@given(st.text(alphabet=st.characters(categories=("L", "N")), min_size=1, max_size=40))
def test_upper_lower_and_composed_spellings_are_one_name(text: str) -> None:
    try:
        name = names.canonical(text)
    except Refused:
        return
    assert names.canonical(unicodedata.normalize("NFD", text)) == name
    assert names.canonical(text.casefold()) == name


@pytest.mark.attack("AR-08")
@pytest.mark.parametrize(
    "text, kept",
    [
        ("anna@example.com", "anna@example.com"),
        (" anna@example.com ", "anna@example.com"),
        ("Anna.Smith+x@EXAMPLE.com", "Anna.Smith+x@example.com"),
        ("anna@Bücher.example", "anna@xn--bcher-kva.example"),
        ("jörg@example.com", "jörg@example.com"),
        ("o'brien@example.com", "o'brien@example.com"),
    ],
)
def test_an_address_is_kept_with_its_local_part_as_typed(text: str, kept: str) -> None:
    assert names.email(text) == kept


@pytest.mark.attack("AR-08")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "anna",
        "@example.com",
        "anna@",
        "anna@@example.com",
        "a@x.example,b@y.example",
        "a@x.example b@y.example",
        "a@x.example;b@y.example",
        "a@x.example\r\nBcc: b@y.example",
        "a@x.example\nb",
        "Anna <anna@example.com>",
        '"anna"@example.com',
        '"a@b"@example.com',
        "(x)anna@example.com",
        ".anna@example.com",
        "anna.@example.com",
        "an..na@example.com",
        "anna@example..com",
        "anna@-example.com",
        "anna@exa_mple.com",
        "anna@[127.0.0.1]",
        "anna@example.com/x",
        "an\x00na@example.com",
        "an\u200bna@example.com",
        "x" * 65 + "@example.com",
        "anna@" + "x" * 64 + ".com",
        "anna@" + ".".join(["x" * 50] * 6),
    ],
)
def test_what_is_not_exactly_one_plain_address_is_refused(text: str) -> None:
    with pytest.raises(Refused) as refused:
        names.email(text)
    assert refused.value.code in ("invalid_email", "invalid_name")
