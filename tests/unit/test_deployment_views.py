"""How fast deployments are taken to be, from the calls that ended and from those that were given up."""

import pytest

from commands.deployment_views import DeploymentViews

BOTH = pytest.mark.parametrize("stream", [False, True])


def views() -> DeploymentViews:
    made = DeploymentViews(lambda: 0.0)
    made.keep(frozenset({"a"}))
    return made


@BOTH
def test_a_call_that_was_given_up_is_as_slow_as_it_was_waited_for_where_nothing_is_known(stream: bool) -> None:
    seen = views()

    seen.outlasted("a", waited_ms=2_000, stream=stream)

    assert seen.latency_ms("a", stream=stream) == 2_000


@BOTH
def test_a_call_that_was_given_up_makes_its_deployment_slower_and_never_faster(stream: bool) -> None:
    seen = views()
    seen.observe("a", duration_ms=4_000, first_token_ms=1_000)
    expected = 1_000 if stream else 4_000

    seen.outlasted("a", waited_ms=expected - 500, stream=stream)
    assert seen.latency_ms("a", stream=stream) == expected
    seen.outlasted("a", waited_ms=expected + 1_000, stream=stream)
    assert seen.latency_ms("a", stream=stream) == expected + 500


def test_of_a_deployment_that_is_not_kept_nothing_is_known() -> None:
    seen = views()

    seen.outlasted("gone", waited_ms=5, stream=False)

    assert seen.latency_ms("gone", stream=False) is None
