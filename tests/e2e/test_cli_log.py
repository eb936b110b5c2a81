"""`agg log` and `agg trace` on a running program, as an operator uses them."""

import json
import subprocess
import sys
from typing import Any

import httpx
import msgspec
import pytest

from adapters.embedded.home import free_port
from adapters.endpoints import DatabaseEndpoint
from migrations.apply import connect
from tests.e2e.running import Program, until

HELLO = {"model": "sim/echo", "messages": [{"role": "user", "content": "Hello"}]}


def agg(program: Program, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "api.cli", *arguments],
        env=program.environ | environ,
        capture_output=True,
        text=True,
        timeout=60,
    )


def without_postgres() -> dict[str, str]:
    return {"AGG_DATABASE_PORT": str(free_port())}


@pytest.fixture(scope="module")
def request_id(program: Program) -> str:
    """A request that has ended and is charged."""
    answers = [
        httpx.post(
            f"{program.base_url}/v1/chat/completions",
            headers={"authorization": f"Bearer {program.api_key}"},
            json=HELLO,
        )
        for _ in range(3)
    ]
    ident = answers[-1].headers["x-request-id"]
    until(lambda: agg(program, "trace", ident, "--json").stdout.count('"charged":true'))
    return ident


def traced(program: Program, *arguments: str, **environ: str) -> dict[str, Any]:
    outcome = agg(program, "trace", "--json", *arguments, **environ)
    assert outcome.returncode == 0, outcome.stderr
    return json.loads(outcome.stdout)


def test_a_request_is_traced_from_lease_and_admission_to_its_charge(program: Program, request_id: str) -> None:
    trace = traced(program, request_id)
    lease, admitted, ended, charged = trace["steps"]

    assert [step["event"] for step in trace["steps"]] == [
        "ledger.credit_leased.v1",
        "request.admitted.v1",
        "request.completed.v1",
        "ledger.usage_charged.v1",
    ]
    assert (trace["status"], trace["charged"], trace["found_by"]) == ("completed", True, "the read model `requests`")
    assert lease["data"]["lease_id"] == admitted["data"]["lease_id"]
    assert admitted["price_id"] == ended["price_id"]
    assert (ended["evidence"], charged["actor"]) == ("reported", "settlement")
    assert charged["data"]["from_position"] < int(ended["position"][4:]) <= charged["data"]["to_position"]


def test_the_same_is_found_without_the_read_models(program: Program, request_id: str) -> None:
    steps = traced(program, request_id)["steps"]

    scanned = traced(program, request_id, "--scan")
    alone = traced(program, request_id, **without_postgres())

    assert scanned["steps"] == alone["steps"] == steps
    assert "--scan" in scanned["found_by"]
    assert "Postgres does not answer" in alone["found_by"]


def test_a_trace_reads_well_without_colour(program: Program, request_id: str) -> None:
    text = agg(program, "trace", request_id).stdout

    assert "completed and charged: 0.0000" in text
    assert "EVT:" in text and "REQ:" in text and "as the provider reported" in text
    assert "\x1b" not in text


def test_an_unknown_request_is_one_line_and_exit_code_1(program: Program) -> None:
    for arguments in (("req_unknown",), ("req_unknown", "--scan")):
        outcome = agg(program, "trace", *arguments)

        assert (outcome.returncode, outcome.stdout, outcome.stderr.count("\n")) == (1, "", 1)
        assert "no request req_unknown" in outcome.stderr


def test_the_tail_shows_the_latest_events_of_a_type(program: Program, request_id: str) -> None:
    outcome = agg(
        program, "log", "tail", "--no-follow", "--stream", "req", "--type", "request.completed", "-n", "2", "--json"
    )

    events = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert [event["event"]["type"] for event in events] == ["request.completed.v1"] * 2
    assert events[-1]["event"]["data"]["request_id"] == request_id


def test_the_tail_follows(program: Program, request_id: str) -> None:
    command = [sys.executable, "-m", "api.cli", "log", "tail", "-n", "1", "--stream", "REQ", "--type", "request.adm"]
    with subprocess.Popen(command, env=program.environ, stdout=subprocess.PIPE, text=True) as tail:
        try:
            assert tail.stdout is not None
            assert request_id in tail.stdout.readline()
            answer = httpx.post(
                f"{program.base_url}/v1/chat/completions",
                headers={"authorization": f"Bearer {program.api_key}"},
                json=HELLO,
            )
            assert answer.headers["x-request-id"] in tail.stdout.readline()
            tail.send_signal(2)
            assert tail.wait(10) == 0
        finally:
            tail.kill()


def test_one_message_is_shown_with_its_events(program: Program, request_id: str) -> None:
    position = traced(program, request_id)["steps"][-1]["position"]

    shown = json.loads(agg(program, "log", "show", position, "--json").stdout)
    text = agg(program, "log", "show", position).stdout

    assert (shown["position"], shown["events"][0]["type"]) == (position, "ledger.usage_charged.v1")
    assert shown["sha256"] in text and '"amount_nanos"' in text


@pytest.mark.parametrize(("position", "code"), [("EVT:999999", 1), ("EVT", 2), ("TMR:1", 2), ("REQ:0", 2)])
def test_a_message_that_is_not_there_and_a_position_that_is_none(program: Program, position: str, code: int) -> None:
    outcome = agg(program, "log", "show", position)

    assert (outcome.returncode, outcome.stdout) == (code, "")


def test_a_sound_log_verifies_against_its_archive(program: Program, request_id: str) -> None:
    until(lambda: json.loads(agg(program, "log", "verify", "--json").stdout)["archive"]["REQ"]["behind"] == 0)
    outcome = agg(program, "log", "verify", "--json")

    report = json.loads(outcome.stdout)
    assert (outcome.returncode, report["good"], report["findings"]) == (0, True, [])
    assert report["archive"]["EVT"]["compared"] > 20
    assert report["REQ"]["ended"] == report["REQ"]["admitted"] > 2
    assert "The log is sound." in agg(program, "log", "verify").stdout


def test_without_postgres_the_log_alone_is_verified(program: Program, request_id: str) -> None:
    outcome = agg(program, "log", "verify", **without_postgres())

    assert outcome.returncode == 0
    assert "archive  not compared: Postgres does not answer" in outcome.stdout


async def test_an_archive_that_was_altered_is_found(program: Program, request_id: str) -> None:
    connection = await connect(msgspec.convert(program.services["database"], DatabaseEndpoint))
    try:
        raw = await connection.fetchval(
            "UPDATE event_archive SET raw = 'x' WHERE stream = 'EVT' AND position = 3 RETURNING (SELECT raw FROM "
            "event_archive WHERE stream = 'EVT' AND position = 3)"
        )
        outcome = agg(program, "log", "verify")
        await connection.execute("UPDATE event_archive SET raw = $1 WHERE stream = 'EVT' AND position = 3", raw)
    finally:
        await connection.close()

    assert outcome.returncode == 1
    assert "EVT:3  archive_differs: log and archive differ here. Remedy:" in outcome.stdout
    assert agg(program, "log", "verify").returncode == 0


def test_a_mistyped_command_is_answered_with_the_nearest(program: Program) -> None:
    assert "Did you mean 'trace'?" in agg(program, "tarce").stderr
    assert "Did you mean 'verify'?" in agg(program, "log", "verfy").stderr
