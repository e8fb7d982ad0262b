"""Letters in the language of whom they are for."""

import pytest

from idp.notify import letters
from tests.harness.provider import Idp


@pytest.mark.parametrize(
    "tag, subject",
    [
        ("de", "Neues Passwort wählen"),
        ("fr-CA", "Choisir un nouveau mot de passe"),
        ("es-MX", "Elige una contraseña nueva"),
        ("pt", "Escolha uma nova senha"),
        ("ja", "新しいパスワードの設定"),
        ("rm", "Choose a new password"),
    ],
)
def test_a_letter_speaks_the_language_of_its_person(idp: Idp, tag: str, subject: str) -> None:
    written = letters.Letters(idp.settings).write(
        "reset_password", {"link": "https://id.example/x", "minutes": 30}, language=tag
    )
    assert written.subject == subject
    assert "https://id.example/x" in written.text
    assert f'lang="{letters.choose(tag)}"' in written.html
