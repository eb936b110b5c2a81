"""The facts of a request's life agree with one another."""

import msgspec
import pytest

from commands import request_facts
from commands.answer_request import Running
from commands.request_facts import CONSIDERED_KEPT
from domain.request import RequestEnd, RequestFact
from domain.routing import Choice
from tests.answering import used
from tests.failing_over import Line, RouteHouse
from tests.money import AT
from tests.routing import DOWN


async def under_way(*, stream: bool = False, times: int | None = 1) -> Running:
    """In its third call, of which something was delivered."""
    running = await RouteHouse(Line("a"), times={"a": times}).admit(stream=stream, started_s=0.125)
    running.attempts, running.hedged, running.client_gone = 3, True, True
    running.first_token_s, running.delivered_chars = 0.25, 80
    return running


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("reported", [True, False])
@pytest.mark.parametrize("times", [None, 1])
async def test_however_it_ends_the_same_is_said_of_who_asked_who_was_called_and_the_cost(
    *, stream: bool, reported: bool, times: int | None
) -> None:
    running, usage = await under_way(stream=stream, times=times), used(10, 5) if reported else None

    completed = request_facts.completed(running, "up", "stop", usage, AT)
    failed = request_facts.failed(running, DOWN, usage, AT, is_final=True)
    admitted = request_facts.admitted(running.command, running)

    for name in set(RequestEnd.__struct_fields__) - {"upstream_model", "duration_ms"}:
        assert getattr(completed, name) == getattr(failed, name), name
    assert completed.first_token_ms == 125
    assert 0 < completed.duration_ms <= failed.duration_ms
    for name in RequestFact.__struct_fields__:
        assert getattr(completed, name) == getattr(admitted, name), name


@pytest.mark.parametrize("deployments", [1, CONSIDERED_KEPT, CONSIDERED_KEPT + 1])
async def test_of_a_choice_among_many_the_first_are_written_down(deployments: int) -> None:
    names = [f"d{number}" for number in range(deployments)]
    running = await RouteHouse(*map(Line, names)).admit()

    admitted = request_facts.admitted(running.command, running)

    choice = msgspec.json.decode(admitted.choice, type=Choice)
    assert (admitted.route, choice.chosen) == ("fast", "d0")
    assert [each.name for each in choice.considered] == names[:CONSIDERED_KEPT]


async def test_a_plain_model_was_not_chosen_and_nothing_is_written_of_it() -> None:
    running = await RouteHouse(Line("a")).admit(name="m-a")

    written = msgspec.json.encode(request_facts.admitted(running.command, running))

    assert not {"route", "choice"} & msgspec.json.decode(written).keys()
