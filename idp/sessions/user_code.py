"""The code that people type to bring two devices together: `WDJB-MJHT` (RFC 8628 section 6.1).

Eight of twenty consonants: no vowels, so that no words come up, and nothing that looks like a digit.
That is 34 bits, so what is stored is a keyed digest, and tries are counted (`idp.users.throttle`).
"""

import re
import secrets
import unicodedata

from idp.storage.vault import Vault

ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"
LENGTH = 8
SPACE = len(ALPHABET) ** LENGTH
TYPED_MAXIMUM = 40
_BETWEEN = re.compile(r"[\W_]+")
_CODE = re.compile(f"[{ALPHABET}]{{{LENGTH}}}")


def make() -> str:
    """A fresh code as it is shown."""
    letters = "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
    return f"{letters[:4]}-{letters[4:]}"


def canonical(typed: str) -> str | None:
    """What was typed as it is shown; None when it can be no code.

    In capitals or not, with dashes, blanks or dots anywhere, in wide letters: typed on a phone.
    """
    if len(typed) > TYPED_MAXIMUM:
        return None
    letters = _BETWEEN.sub("", unicodedata.normalize("NFKC", typed)).upper()
    return f"{letters[:4]}-{letters[4:]}" if _CODE.fullmatch(letters) else None


def digest(code: str, vault: Vault) -> str:
    """What is stored of a code: keyed, because 34 bits are soon tried out."""
    return vault.mac(code.encode(), "user code").hex()
