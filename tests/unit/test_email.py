"""One mailbox, one spelling."""

import pytest
from hypothesis import given, strategies

from domain.claim import normalise_email
from domain.errors import InvalidInput

SPELLINGS = [
    (" Ada@Example.COM\n", "ada@example.com"),
    ("ada＠example.com", "ada@example.com"),
    ("STRASSE@example.com", "strasse@example.com"),
    ("straße@example.com", "strasse@example.com"),
    ("ada+tag@sub.example.co.uk", "ada+tag@sub.example.co.uk"),
    ("用户@例子.公司", "用户@例子.公司"),
    ("o'brien_1@example.com", "o'brien_1@example.com"),
]
NOT_EMAILS = [
    *("", "ada", "@example.com", "ada@", "ada@example", "a b@example.com", "a@b@example.com", ".a@example.com"),
    *("a.@example.com", "a@-x.com", "a@x-.com", "a@x..com", "a\x00@example.com", "<a@example.com>", "a@exa mple.com"),
    *("a" * 65 + "@example.com", "a@" + "b" * 250 + ".com", '"a"@example.com', "a@[127.0.0.1]"),
]


@pytest.mark.parametrize(("written", "email"), SPELLINGS)
def test_spellings_of_one_mailbox_are_one(written: str, email: str) -> None:
    assert normalise_email(written) == email


@pytest.mark.parametrize("text", NOT_EMAILS)
def test_what_is_no_email_is_refused_by_field(text: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        normalise_email(text)

    assert refusal.value.field == "email"


@given(strategies.emails())
def test_normalising_twice_changes_nothing(email: str) -> None:
    try:
        once = normalise_email(email)
    except InvalidInput:
        return
    assert normalise_email(once) == once
