"""Letters in every shipped language: whole, with the same values, and sent to whom they are for."""

import re
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from idp.notify import letters
from tests.harness.provider import Idp

TEMPLATES = Path(__file__).resolve().parents[2] / "templates"
OTHERS = [tag for tag in letters.SHIPPED if tag != letters.DEFAULT]
_VALUE = re.compile(r"%\((\w+)\)s")
_OPTIONS = {"trim_blocks": "true", "lstrip_blocks": "true", "newstyle_gettext": "true"}


def said() -> set[tuple[str, ...]]:
    """Every sentence of the letters, as (one,) or (one, many)."""
    found = extract_from_dir(
        TEMPLATES / "mail",
        method_map=[("*.txt", "jinja2"), ("*.html", "jinja2")],
        options_map={"*.txt": _OPTIONS, "*.html": _OPTIONS},
    )
    return {(one,) if isinstance(one, str) else tuple(one) for _, _, one, _, _ in found}


@pytest.mark.parametrize("tag", OTHERS)
def test_every_sentence_of_a_letter_is_translated_with_the_same_values(tag: str) -> None:
    with (TEMPLATES / "mail" / "locales" / f"{tag}.po").open("rb") as file:
        catalogue = read_po(file, locale=tag)
    for sentence in sorted(said()):
        message = catalogue.get(sentence[0])
        assert message is not None, f"{tag} lacks: {sentence[0]}"
        forms = (message.string,) if len(sentence) == 1 else message.string
        assert len(forms) == len(sentence), sentence
        for form in forms:
            assert form, f"{tag} lacks: {sentence[0]}"
            # A form for one may say "the one" for the number.
            assert set(_VALUE.findall(form)) <= set(_VALUE.findall(sentence[-1])), form
        assert set(_VALUE.findall(forms[-1])) == set(_VALUE.findall(sentence[-1])), forms[-1]


@pytest.mark.parametrize(
    "tag, subject",
    [
        ("de", "Neues Passwort wählen"),
        ("fr-CA", "Choisir un nouveau mot de passe"),
        ("pt-BR", "Choose a new password"),
    ],
)
def test_a_letter_speaks_the_language_of_its_person(idp: Idp, tag: str, subject: str) -> None:
    written = letters.Letters(idp.settings).write(
        "reset_password",
        {"link": "https://id.example/x", "minutes": 30},
        language=letters.choose(tag),
    )
    assert written.subject == subject
    assert "https://id.example/x" in written.text
    assert f'lang="{letters.choose(tag)}"' in written.html
