"""The one form of user names and e-mail addresses.

Two spellings that a person cannot tell apart, or that mail systems treat alike, must lead to one
identifier: otherwise they are counted apart by the throttle, or one person takes another's name.
Owns the canonical form and what a name may hold; does not know who has which name.

Specs: Unicode normalisation and caseless matching (UAX #15; Unicode section 3.13, definition D146),
internationalised domain names (RFC 3490, through Python's codec).
"""

import unicodedata

from idp.errors import Refused
from idp.languages import Sentence

MAXIMUM = 255
# A name that is longer than this as typed is not looked at: normalising costs time by length.
_MAXIMUM_TYPED = 4 * MAXIMUM
EMAIL_MAXIMUM = 254
_LOCAL_PART_MAXIMUM = 64
# Letters and marks that show nothing; the other invisible characters are of category Cf.
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0") | {
    chr(code) for code in (*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))
}


def canonical(text: str) -> str:
    """The form in which a user name or e-mail address is looked up.

    Raises `Refused` (`invalid_name`) when it is empty, too long, or holds spaces, control or
    invisible characters. A domain is compared in its ASCII form, so that both spellings of an
    internationalised domain are one, and a look-alike is another.
    """
    if len(text) > _MAXIMUM_TYPED:
        raise _invalid_name()
    # The decomposition first and the normalisation twice make this stable: canonical(canonical(x))
    # is canonical(x) for every x, which a lookup key must be.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFD", text).casefold())
    name = unicodedata.normalize("NFKC", folded.casefold()).strip()
    if not name or not all(map(_is_plain, name)):
        raise _invalid_name()
    local, at, domain = name.rpartition("@")
    if at and not domain.isascii():
        name = f"{local}@{_ascii_domain(domain) or domain}"
    if len(name) > MAXIMUM:
        raise _invalid_name()
    return name


def key(text: str) -> str | None:
    """The canonical form of what somebody typed; None when it can be nobody's name."""
    try:
        return canonical(text)
    except Refused:
        return None


def username(text: str) -> str:
    """A user name as it is kept and shown: as typed, without surrounding spaces."""
    shown = unicodedata.normalize("NFC", text.strip())
    canonical(shown)
    if len(shown) > MAXIMUM:
        raise _invalid_name()
    return shown


def email(text: str) -> str:
    """An e-mail address as it is kept and written to; raises `Refused` (`invalid_email`).

    Exactly one plain address: no display name, no list, no quoting (AR-08). The local part stays
    as typed, because only its owner's mail system knows whether its case matters.
    """
    shown = unicodedata.normalize("NFC", text.strip())
    local, at, domain = shown.rpartition("@")
    ascii_domain = _ascii_domain(domain)
    if (
        not at
        or not local
        or len(local) > _LOCAL_PART_MAXIMUM
        or not all(map(_is_plain, local))
        or any(character in '@,;:<>()[]"\\' for character in local)
        or local.startswith(".")
        or local.endswith(".")
        or ".." in local
        or ascii_domain is None
    ):
        raise _invalid_email()
    address = f"{local}@{ascii_domain}"
    if len(address) > EMAIL_MAXIMUM:
        raise _invalid_email()
    canonical(address)
    return address


def _is_plain(character: str) -> bool:
    return unicodedata.category(character)[0] not in "CZ" and character not in _INVISIBLE


def _ascii_domain(domain: str) -> str | None:
    """The domain in lower-case ASCII, or None when it cannot be one."""
    try:
        encoded = domain.encode("idna").decode().lower()
    except UnicodeError:
        return None
    labels = encoded.split(".")
    well_formed = all(
        label
        and not label.startswith("-")
        and not label.endswith("-")
        and all(character.isalnum() or character == "-" for character in label)
        for label in labels
    )
    return encoded if well_formed and len(encoded) <= 253 else None


def _invalid_name() -> Refused:
    return Refused(
        "invalid_name",
        Sentence("A user name has 1 to %(most)s visible characters and no spaces.", most=MAXIMUM),
    )


def _invalid_email() -> Refused:
    return Refused("invalid_email", "This is not an e-mail address such as anna@example.com.")
