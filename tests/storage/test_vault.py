import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.storage.vault import Unreadable, Vault

OLD, NEW = "an old secret of 32 characters or more", "a new secret of 32 characters or more"


@given(st.binary(max_size=200), st.text(max_size=40))
def test_what_is_sealed_opens_with_the_same_context_only(plain: bytes, context: str) -> None:
    vault = Vault(OLD)
    sealed = vault.seal(plain, context)
    assert vault.open(sealed, context) == plain
    with pytest.raises(Unreadable):
        vault.open(sealed, context + "x")


def test_the_same_text_is_never_sealed_the_same_way_twice() -> None:
    vault = Vault(OLD)
    assert vault.seal(b"text", "c") != vault.seal(b"text", "c")


def test_every_changed_byte_is_noticed() -> None:
    vault = Vault(OLD)
    sealed = vault.seal(b"the text", "context")
    for place in range(len(sealed)):
        altered = bytearray(sealed)
        altered[place] ^= 1
        with pytest.raises(Unreadable):
            vault.open(bytes(altered), "context")
    for length in range(len(sealed)):
        with pytest.raises(Unreadable):
            vault.open(sealed[:length], "context")


@given(st.text(max_size=100))
def test_any_text_opens_or_is_unreadable(text: str) -> None:
    with pytest.raises(Unreadable):
        Vault(OLD).open_text(text, "context")


def test_an_older_key_still_reads_and_never_writes() -> None:
    old = Vault(OLD).seal_text("text", "context")
    both = Vault(NEW, (OLD,))
    assert both.open_text(old, "context") == "text"
    assert not both.is_current(old)
    fresh = both.seal_text("text", "context")
    assert both.is_current(fresh)
    assert Vault(NEW).open_text(fresh, "context") == "text"
    with pytest.raises(Unreadable):
        Vault(NEW).open_text(old, "context")


def test_a_mac_is_bound_to_message_purpose_and_key() -> None:
    vault = Vault(OLD)
    tag = vault.mac(b"message", "purpose")
    assert len(tag) == 32
    assert vault.verify_mac(b"message", "purpose", tag)
    assert not vault.verify_mac(b"messagf", "purpose", tag)
    assert not vault.verify_mac(b"message", "purposf", tag)
    assert not vault.verify_mac(b"message", "purpose", tag[:-1])
    assert not Vault(NEW).verify_mac(b"message", "purpose", tag)
    assert Vault(NEW, (OLD,)).verify_mac(b"message", "purpose", tag)
    assert vault.mac(b"b", "a") != vault.mac(b"", "ab")
    assert [one.mac(b"m", "p") for one in Vault(NEW, (OLD,)).each_key()] == [
        Vault(NEW).mac(b"m", "p"),
        Vault(OLD).mac(b"m", "p"),
    ]
