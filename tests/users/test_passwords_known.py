"""Passwords that others know: the operator's file of breaches, and what would soon be guessed."""

import hashlib
import random
import sys
import threading
import time
from pathlib import Path

import pytest

from idp.settings import Settings, SettingsError, load
from idp.users import breached, passwords, strength
from tests.harness.workbench import SECRET

KNOWN = "correct horse battery staple"


def digest(password: str) -> str:
    return hashlib.sha1(password.encode()).hexdigest()


def write(file: Path, known: list[str], *, case: str = "upper", end: str = "\r\n") -> str:
    """A file such as Have I Been Pwned gives away."""
    digests = sorted(getattr(digest(one), case)() for one in known)
    lines = [f"{one}:{number + 1}" if number % 2 else one for number, one in enumerate(digests)]
    file.write_bytes(end.join(lines).encode())
    return str(file)


@pytest.mark.parametrize("count", [1, 2, 3, 10, 1_000])
@pytest.mark.parametrize("case", ["upper", "lower"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_every_password_of_the_file_is_found_and_no_other(
    tmp_path: Path, count: int, case: str, end: str
) -> None:
    """ASVS 6.2.12: first, last and between, whatever the lines look like."""
    known = [f"password {number}" for number in range(count)]
    file = write(tmp_path / "known.txt", known, case=case, end=end)
    for trailing in ("", end, end * 3):
        Path(file).write_bytes(Path(file).read_bytes().rstrip() + trailing.encode())
        assert all(breached.is_listed(file, one.encode()) for one in known)
        assert not any(breached.is_listed(file, f"other {n}".encode()) for n in range(200))


def test_a_large_file_is_searched_where_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "known.txt", [f"password {number}" for number in range(50_000)])
    read: list[int] = []
    real = breached._line_from

    def watched(listed: object, offset: int) -> bytes | None:
        read.append(offset)
        return real(listed, offset)  # type: ignore[arg-type]

    monkeypatch.setattr(breached, "_line_from", watched)
    assert breached.is_listed(file, b"password 31415")
    assert len(read) < 30


def settings(file: str) -> Settings:
    return Settings(secret_key=SECRET, password={"breached_file": file})


def test_a_known_password_is_refused_with_its_reason(tmp_path: Path) -> None:
    """ASVS 6.2.12."""
    known = write(tmp_path / "known.txt", [KNOWN, "grüße an alle im haus"])
    refused = "This password is known from a data breach; please choose another."
    assert passwords.problem_with(KNOWN, settings(known), []) == refused
    # As it is hashed: in one form, whatever the keyboard sends.
    assert passwords.problem_with("gru\u0308ße an alle im haus", settings(known), []) == refused
    assert passwords.problem_with(KNOWN + "!", settings(known), []) is None
    assert passwords.problem_with(KNOWN, Settings(secret_key=SECRET), []) is None


@pytest.mark.parametrize(
    "content, sentence",
    [
        (None, "IDP_PASSWORD__BREACHED_FILE cannot be read"),
        (b"", "does not begin with a SHA-1 digest"),
        (b"password\n123456\n", "does not begin with a SHA-1 digest"),
        (b"PK\x03\x04" + bytes(300), "does not begin with a SHA-1 digest"),
    ],
)
def test_a_file_that_cannot_be_used_keeps_the_server_from_starting(
    tmp_path: Path, content: bytes | None, sentence: str
) -> None:
    file = tmp_path / "known.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=sentence):
        load(secret_key=SECRET, password={"breached_file": str(file)})


def test_a_file_that_is_gone_later_is_logged_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """ASVS 6.2.12: the documented way to fail; never an error for the person."""
    file = tmp_path / "known.txt"
    configured = settings(write(file, [KNOWN]))
    file.unlink()
    assert passwords.problem_with(KNOWN, configured, []) is None
    assert "cannot be read and was left out" in caplog.text
    assert KNOWN not in caplog.text
    # The other rules still hold.
    assert passwords.problem_with("x" * 40, configured, []) is not None


def test_more_than_the_library_takes_is_looked_at_in_part() -> None:
    for password in (KNOWN * 10, "🐎" * 300 + KNOWN, "x" * 4_000, "\x00" * 100, "\ud800" * 100):
        assert strength.score(password, []) in range(5)


def test_words_of_the_person_count_as_guessed() -> None:
    assert strength.score("xqkzvwpl1987", []) >= strength.LEAST_SCORE
    assert strength.score("xqkzvwpl1987", ["XqKzvwpl"]) < strength.LEAST_SCORE


@pytest.mark.attack("DS-04")
@pytest.mark.parametrize(
    "password",
    [
        # Every sign that may stand for several letters: 576 readings, three seconds when read whole.
        "4@8({[<63 9!1|0$5+7%2" * 4,
        "4@8({[<369!1|0$57%2" + "x" * 60,
        "x" * 60 + "4@8({[<369!1|0$57%2",
        "ab" * 40,
        "756 141// 5025354  4 476042/401669345./-979494/25251658-9- 3672 7-30-/31",
        "AaAaaaAaAaAAaAaaaaAaaAaaAaaAAaaaaAAAaAAaAAaAAAaaaaaAaAaaaaAAAaAAaaaAAAAA",
    ],
)
def test_no_password_takes_the_library_long(password: str) -> None:
    """DS-04: CPU seconds; what is cut off does not make a strong one weak."""
    strength.score("warm up", [])
    began = time.process_time()
    strength.score(password, [])
    assert time.process_time() - began < 1


def test_what_is_cut_for_its_many_readings_is_strong_all_the_same() -> None:
    draw = random.Random(1)
    for _ in range(5):
        signs = "".join(draw.sample("4@8({[<369!1|0$57%2", 19))
        assert strength.score(signs * 3, []) >= strength.LEAST_SCORE


def test_two_people_at_one_moment_do_not_get_each_others_words() -> None:
    """The library keeps the words of a call in a variable of its module."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    wrong: list[str] = []

    def judge(name: str) -> None:
        for _ in range(15):
            if strength.score(f"{name}1987", [name]) >= strength.LEAST_SCORE:
                wrong.append(name)

    threads = [
        threading.Thread(target=judge, args=(name,))
        for name in ("xqkzvwpl", "wvjhqgzx", "mzqxkvbw", "gxwqvzkj")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(before)
    assert wrong == []
