"""What the consumer notices and reports: silence, its end, and answers that have changed.

The service and the nucleus are scripted here. test_processes has the real ones.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from edge.consumer import consumer
from edge.inference.client import Client
from edge.inference.ipc import Sent

BATCHES: list[list[dict[str, Any]]] = [[{"pH": 1.0}, {"pH": 2.0}], [{"pH": 3.0}]]

Reply = Callable[[dict[str, Any]], dict[str, Any] | None]


def says(model: str, *, plus: float = 0.0) -> Reply:
    """A model that answers a row's pH, and adds something to the last answer."""

    def reply(request: dict[str, Any]) -> dict[str, Any]:
        rows = [row["pH"] for row in json.loads(request["body"])]
        return {"predictions": [row + plus * (row == 3.0) for row in rows], "model": model}

    return reply


def silent(_request: dict[str, Any]) -> None:
    return None


def refuses(_request: dict[str, Any]) -> dict[str, Any]:
    return {"error": {"code": "busy", "message": "ask again", "row": None, "field": None}}


class Nucleus:
    """A nucleus that takes states, if it is `reachable`."""

    def __init__(self, *, reachable: bool = True) -> None:
        self.states: list[str] = []
        self._reachable = reachable

    def update_state(self, state: str, sent: Sent) -> None:
        if self._reachable:
            self.states.append(state)
            sent(None)
        else:
            sent(ConnectionError("there is no connection to the nucleus"))


def asks(nucleus: Nucleus, *script: Reply) -> None:
    """One turn of the consumer for each line of the script."""

    async def story() -> None:
        reply: Reply = silent

        async def send(payload: bytes) -> None:
            request = json.loads(payload)
            said = reply(request)
            if said is None:
                raise TimeoutError  # As after ANSWER_SECONDS, without the wait.
            client.received(json.dumps({"id": request["id"], **said}).encode())

        client = Client(name="consumer", send=send)
        asking = consumer.Consumer(client, nucleus, BATCHES)  # type: ignore[arg-type]
        for reply in script:  # noqa: B007  # read by send
            await asking._turn()

    asyncio.run(story())


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow machine must not count as silence."""
    monkeypatch.setattr(consumer, "ANSWER_SECONDS", 60.0)


@pytest.fixture
def events(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[dict[str, Any]]]:
    def told() -> list[dict[str, Any]]:
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return told


OUTAGE = [silent] * consumer.OUTAGE


def test_an_outage_is_told_once_and_so_is_its_end() -> None:
    nucleus = Nucleus()
    asks(nucleus, says("m"), *OUTAGE, silent, silent, says("m"), says("m"))
    assert nucleus.states == ["ERRORED", "RUNNING"]


def test_every_missed_answer_is_in_the_log(events: Callable[[], list[dict[str, Any]]]) -> None:
    asks(Nucleus(), says("m"), *OUTAGE, says("m"))
    counts = [said["unanswered"] for said in events() if said["event"] == "silence"]
    assert counts == list(range(1, consumer.OUTAGE + 1))


def test_a_short_silence_is_no_outage_as_a_release_takes_over_from_another() -> None:
    nucleus = Nucleus()
    asks(nucleus, says("m"), *OUTAGE[1:], says("n"), *OUTAGE[1:], says("n"))
    assert nucleus.states == []


def test_a_refusal_is_no_silence() -> None:
    nucleus = Nucleus()
    asks(nucleus, says("m"), *OUTAGE[1:], refuses, *OUTAGE[1:], refuses)
    assert nucleus.states == []


def test_a_consumer_started_in_an_outage_leaves_the_state_alone() -> None:
    """Otherwise the Java nucleus, which started it for its first report, would make it BROKEN."""
    nucleus = Nucleus()
    asks(nucleus, *OUTAGE, *OUTAGE, says("m"))
    assert nucleus.states == []


def test_a_nucleus_that_cant_be_told_ends_nothing(
    events: Callable[[], list[dict[str, Any]]],
) -> None:
    asks(Nucleus(reachable=False), says("m"), *OUTAGE, says("m"))
    told = [said["event"] for said in events()]
    assert told.count("state-not-reported") == 2
    assert told.count("answer") == 2


def test_other_answers_of_the_same_model_are_named_by_row_and_size(
    events: Callable[[], list[dict[str, Any]]],
) -> None:
    asks(Nucleus(), says("m"), says("m"), says("m", plus=0.5), says("m"))
    (changed,) = [said for said in events() if said["event"] == "changed"]
    assert (changed["model"], changed["row"], changed["difference"]) == ("m", 2, 0.5)
    assert (changed["before"], changed["now"]) == (3.0, 3.5)


def test_another_model_may_answer_otherwise(events: Callable[[], list[dict[str, Any]]]) -> None:
    asks(Nucleus(), says("m"), says("n", plus=0.5), says("n", plus=0.5), says("m"))
    assert "changed" not in [said["event"] for said in events()]


def test_two_models_in_one_turn_are_two_answers_and_no_reference(
    events: Callable[[], list[dict[str, Any]]],
) -> None:
    def takes_over(request: dict[str, Any]) -> dict[str, Any] | None:
        first = len(json.loads(request["body"])) == 2
        return says("m" if first else "n")(request)

    asks(Nucleus(), says("m"), takes_over, says("n"), says("n"))
    told = events()
    assert [said["model"] for said in told if said["event"] == "answer"] == list("mmnnn")
    assert "changed" not in [said["event"] for said in told]
