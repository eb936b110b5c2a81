"""What clients may say about cached answers, and how tolerantly it is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.cache_control import ANYTHING_GOES, BYPASS, Directive, parse_cache_control


@pytest.mark.parametrize(
    ("header", "meant"),
    [
        (None, ANYTHING_GOES),
        (b"", ANYTHING_GOES),
        (b"only-if-cached, min-fresh=3, x", ANYTHING_GOES),
        (b"no-cache", Directive(may_read=False)),
        (b"No-Cache", Directive(may_read=False)),
        (b'no-cache="set-cookie"', Directive(may_read=False)),
        (b"no-store", BYPASS),
        (b"max-age=60,,no-store", BYPASS),
        (b"max-age=60", Directive(max_age_s=60)),
        (b' , max-age = "60" ;', Directive(max_age_s=60)),
        (b"max-age=60, max-age=5", Directive(max_age_s=5)),
        (b"max-age=0", Directive(may_read=False, max_age_s=0)),
        (b"max-age=-1", Directive(may_read=False, max_age_s=0)),
        (b"max-age", Directive(may_read=False, max_age_s=0)),
        (b"max-age=soon", Directive(may_read=False, max_age_s=0)),
        (b"max-age=99999999999999999999", Directive(max_age_s=2**31)),
        (b"max-stale=60", ANYTHING_GOES),
        (b'x="no-store"', ANYTHING_GOES),
        (b"no-cachet", ANYTHING_GOES),
        (b"\xff\xfe no-cache", Directive(may_read=False)),
        (b"max-age=60" + b" " * 2_000, BYPASS),
    ],
)
def test_a_header_means(header: bytes | None, meant: Directive) -> None:
    assert parse_cache_control(header) == meant


@given(st.binary(max_size=1_200))
def test_any_header_means_something(header: bytes) -> None:
    directive = parse_cache_control(header)

    assert directive.max_age_s is None or 0 <= directive.max_age_s <= 2**31


words = st.sampled_from([b"no-cache", b"no-store", b"max-age=9", b"max-age=4", b"x", b"y=1", b""])


@given(st.lists(words, max_size=6))
def test_every_directive_of_a_list_holds(said: list[bytes]) -> None:
    directive = parse_cache_control(b" , ".join(said))

    assert directive.may_store == (b"no-store" not in said)
    assert directive.may_read == (b"no-cache" not in said and b"no-store" not in said)
    if b"no-store" not in said:
        assert directive.max_age_s == min((int(word[8:]) for word in said if word.startswith(b"max-age")), default=None)
