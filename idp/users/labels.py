"""What people call their credentials, devices and sessions: the one rule for such a name."""

from idp.errors import Refused
from idp.languages import Sentence
from idp.users.credentials import NAME_MAXIMUM


def label(text: str, *, default: str) -> str:
    """The name as it is kept: on one line, `default` when empty.

    Raises `Refused` (`invalid_label`) when it is too long or holds what cannot be seen, such as the
    characters that turn the direction of the text after them.
    """
    shown = " ".join(text.split())
    if len(shown) > NAME_MAXIMUM or not shown.isprintable():
        raise Refused(
            "invalid_label",
            Sentence(
                "A name has at most %(most)s characters, all of them visible.", most=NAME_MAXIMUM
            ),
        )
    return shown or default
