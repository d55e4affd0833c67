"""The gate that a rollout runs on the device, against a scripted service."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from edge.inference import check as timing
from edge.inference.check import Verdict, compare, judge
from edge.inference.client import Client, Refused
from edge.inference.files import Golden

GOLDEN = Golden(model="new", predictions=[6.5, -0.0, 4.25])
SAMPLES: list[list[dict[str, Any]]] = [[{"pH": 1.0}, {"pH": 2.0}], [{"pH": 3.0}]]
ANSWERS = {1.0: 6.5, 2.0: -0.0, 3.0: 4.25}

Reply = Callable[[dict[str, Any]], dict[str, Any] | None]


def says(model: str, answers: dict[float, float]) -> Reply:
    def reply(request: dict[str, Any]) -> dict[str, Any]:
        rows = json.loads(request["body"])
        return {"predictions": [answers[row["pH"]] for row in rows], "model": model}

    return reply


def silent(_request: dict[str, Any]) -> None:
    return None


def refuses(_request: dict[str, Any]) -> dict[str, Any]:
    return {"error": {"code": "busy", "message": "ask again", "row": None, "field": None}}


def judged(*script: Reply) -> Verdict:
    """The verdict on a service that follows the script, one line for each request.

    The last line repeats.
    """

    async def story() -> Verdict:
        lines = list(script)

        async def send(payload: bytes) -> None:
            request = json.loads(payload)
            said = (lines.pop(0) if len(lines) > 1 else lines[0])(request)
            client.received(b'[6.5, "somebody else\'s"]')
            if said is None:
                raise TimeoutError  # As after ANSWER_SECONDS, without the wait.
            client.received(json.dumps({"id": request["id"], **said}).encode())

        client = Client(name="check", send=send)
        return await judge(client, SAMPLES, GOLDEN, seconds=60)

    return asyncio.run(story())


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "ANSWER_SECONDS", 60.0)
    monkeypatch.setattr(timing, "PAUSE_SECONDS", 0.0)


def test_the_golden_answers_from_the_golden_model_pass() -> None:
    verdict = judged(says("new", ANSWERS))
    assert verdict.passed, verdict.message


@pytest.mark.parametrize("before", [silent, refuses, says("old", dict.fromkeys(ANSWERS, 1.0))])
def test_until_the_new_release_answers_it_may_be_anybodys_turn(before: Reply) -> None:
    verdict = judged(before, before, before, says("new", ANSWERS))
    assert verdict.passed, verdict.message


def test_a_service_that_takes_long_for_each_answer_passes_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(timing, "ANSWER_SECONDS", 0.01)

    async def story() -> Verdict:
        async def send(payload: bytes) -> None:
            request = json.loads(payload)
            reply = json.dumps({"id": request["id"], **(says("new", ANSWERS)(request) or {})})
            asyncio.get_running_loop().call_later(0.1, client.received, reply.encode())

        client = Client(name="check", send=send)
        return await judge(client, SAMPLES, GOLDEN, seconds=60)

    verdict = asyncio.run(story())
    assert verdict.passed, verdict.message


def test_a_release_that_changes_between_two_requests_is_asked_again() -> None:
    assert judged(says("old", ANSWERS), says("new", ANSWERS)).passed


def test_one_different_bit_is_final_and_named_by_row_and_size() -> None:
    verdict = judged(says("new", {**ANSWERS, 3.0: 4.250000476837158}))
    assert not verdict.passed
    assert (verdict.row, verdict.expected, verdict.got) == (2, 4.25, 4.250000476837158)
    assert verdict.difference == pytest.approx(4.76837158e-07)
    assert "1 of 3 rows" in verdict.message


def test_minus_zero_is_not_zero() -> None:
    assert compare(GOLDEN, [6.5, 0.0, 4.25]).row == 1


def test_fewer_answers_than_rows_fail() -> None:
    assert "2 answers came to 3 rows" in compare(GOLDEN, [6.5, -0.0]).message


@pytest.mark.parametrize(
    ("script", "last"),
    [
        (silent, "no answer"),
        (refuses, "busy: ask again"),
        (says("old", ANSWERS), "model old answered"),
    ],
)
def test_when_time_is_up_the_verdict_says_what_was_seen_last(
    monkeypatch: pytest.MonkeyPatch, script: Reply, last: str
) -> None:
    async def sleep(_seconds: float) -> None:
        raise TimeoutError  # The time is up at the first pause.

    monkeypatch.setattr(asyncio, "sleep", sleep)
    verdict = judged(script)
    assert not verdict.passed
    assert last in verdict.message


def test_a_check_whose_requests_dont_even_leave_ends_with_its_time() -> None:
    async def story() -> Verdict:
        async def send(_payload: bytes) -> None:
            await asyncio.Event().wait()

        client = Client(name="check", send=send)
        return await judge(client, SAMPLES, GOLDEN, seconds=0.01)

    verdict = asyncio.run(story())
    assert not verdict.passed
    assert "nobody was reached" in verdict.message


def test_a_refusal_reaches_its_asker_as_what_it_is() -> None:
    async def story() -> None:
        async def send(payload: bytes) -> None:
            request_id = json.loads(payload)["id"]
            client.received(json.dumps({"id": request_id, **refuses({})}).encode())

        client = Client(name="test", send=send)
        with pytest.raises(Refused, match="busy"):
            await client.ask(SAMPLES[0], seconds=60)

    asyncio.run(story())


def test_an_answer_that_comes_too_late_or_twice_harms_nobody() -> None:
    async def story() -> None:
        asked: list[str] = []

        async def send(payload: bytes) -> None:
            asked.append(json.loads(payload)["id"])

        client = Client(name="test", send=send)
        with pytest.raises(TimeoutError):
            await client.ask(SAMPLES[0], seconds=0.01)
        late = json.dumps({"id": asked[0], "predictions": [1.0], "model": "new"}).encode()
        client.received(late)
        client.received(late)

    asyncio.run(story())


def test_a_restarted_client_doesnt_take_its_predecessors_answers() -> None:
    async def first_id() -> str:
        asked: list[str] = []

        async def send(payload: bytes) -> None:
            asked.append(json.loads(payload)["id"])

        with pytest.raises(TimeoutError):
            await Client(name="test", send=send).ask(SAMPLES[0], seconds=0.01)
        return asked[0]

    assert asyncio.run(first_id()) != asyncio.run(first_id())
