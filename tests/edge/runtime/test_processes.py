"""The container's three programs together, on a nucleus that comes and goes."""

from __future__ import annotations

import bz2
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from edge.consumer.consumer import ANSWER_SECONDS, OUTAGE
from edge.inference import ipc, memory, serve
from edge.inference.protocol import ANSWER_TOPIC, MAX_REQUEST, REQUEST_TOPIC, encode_request
from edge.inference.service import WINDOW
from edge.inference.settings import Engine
from greenhouse.device.flavours.lite.flavour import Lite
from greenhouse.device.ipc.broker import connect_java
from greenhouse.device.lifecycle.scripts import GRACE_SECONDS
from tests.bench.client import Client
from tests.edge.compiling import answers_of, shipped
from tests.edge.runtime.messages import LARGEST, ask_all, worst
from tests.edge.runtime.programs import (
    CONSUMER,
    EDGE,
    MODEL,
    SAMPLES,
    Start,
    checking,
    checking_once,
    consuming,
    impatient_consumer,
    serving,
    serving_with,
)
from tests.infra.pulumi_yaml import declared


def asking(nucleus: Any) -> Client:
    """An application on the device that hears the answers."""
    return Client(nucleus.socket, nucleus.environment("com.ml.asker")["SVCUID"], ANSWER_TOPIC)


@pytest.mark.parametrize("engine", Engine)
def test_the_service_says_what_it_serves_and_passes_its_check(
    start: Start, golden: Path, engine: Engine
) -> None:
    model = shipped(engine)
    answers_of(model, golden)
    service = serving(start, model, engine=engine)
    ready = service.until("ready")
    assert ready["model"] == json.loads(golden.read_text())["model"]
    assert (len(ready["features"]), ready["trees"]) == (13, 96)
    assert checking(start, golden).ends() == 0
    assert service.terminate() == 0, "a stop that Greengrass asked for is not an error"
    assert service.events[-1]["event"] == "stopped"
    assert service.events[-1]["answered"] == 1


def test_a_check_that_starts_first_waits_for_the_service(start: Start, golden: Path) -> None:
    check = checking(start, golden)
    check.until("asking")
    serving(start)
    assert check.ends() == 0


def test_a_different_answer_fails_the_check_by_row(start: Start, golden: Path) -> None:
    wanted = json.loads(golden.read_text())
    wanted["predictions"][3] += 0.5
    golden.write_text(json.dumps(wanted))
    serving(start)
    check = checking(start, golden)
    assert check.ends() == 1
    failed = check.events[-1]
    assert (failed["event"], failed["row"], failed["difference"]) == ("failed", 3, -0.5)


def test_another_releases_service_doesnt_pass_the_check(start: Start, golden: Path) -> None:
    wanted = json.loads(golden.read_text())
    golden.write_text(json.dumps({**wanted, "model": "000000000000"}))
    serving(start).until("ready")
    check = checking_once(start, golden)
    assert check.ends() == 1
    assert f"model {wanted['model']} answered" in check.events[-1]["message"]


def test_the_consumer_logs_answers_and_tells_the_nucleus_of_an_outage_and_its_end(
    start: Start, golden: Path, nucleus: Any
) -> None:
    consumer = consuming(start, program=impatient_consumer())
    service = serving(start)
    answer = consumer.until("answer")
    wanted = json.loads(golden.read_text())
    assert answer["predictions"] == wanted["predictions"]
    assert (answer["rows"], answer["model"]) == (6, wanted["model"])
    assert service.terminate() == 0
    assert consumer.until("state-reported")["state"] == "ERRORED"
    assert OUTAGE in [said.get("unanswered") for said in consumer.events]
    answers = len([said for said in consumer.events if said["event"] == "answer"])
    serving(start)
    consumer.until("answer", times=answers + 1)
    assert consumer.until("state-reported", times=2)["state"] == "RUNNING"
    assert nucleus.host.states[:2] == ["ERRORED", "RUNNING"]
    assert consumer.terminate() == 0


@pytest.mark.parametrize(
    "nucleus", [connect_java, Lite().connection], ids=["java", "lite"], indirect=True
)
def test_a_service_that_lost_its_subscription_unawares_is_noticed_within_half_a_minute(
    start: Start, nucleus: Any
) -> None:
    service, consumer = serving(start), consuming(start, program=impatient_consumer())
    consumer.until("answer")
    nucleus.forget("com.ml.xgboost")
    consumer.until("silence")
    assert consumer.until("state-reported")["state"] == "ERRORED"
    assert service.terminate() == 0, "its connection lasts: it has noticed nothing itself"
    interval = declared()["consumer-interval"]["default"]
    assert OUTAGE * max(interval, ANSWER_SECONDS) + ANSWER_SECONDS <= 30


def documented(language: str) -> str:
    """The one such block of docs/protocol.md."""
    text = (EDGE.parent / "docs/protocol.md").read_text()
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)
    return str(block)


def test_the_documented_client_is_answered_with_the_rights_of_the_documented_recipe(
    start: Start, nucleus: Any, golden: Path, tmp_path: Path
) -> None:
    client = documented("python")
    assert len([line for line in client.splitlines() if line.strip()]) <= 20
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(documented("yaml"))
    command = [sys.executable, "-m", "fleet", "lint", str(recipe)]
    linted = subprocess.run(command, cwd=EDGE.parent, capture_output=True, text=True, check=False)
    assert linted.returncode == 0, linted.stdout
    document = yaml.safe_load(recipe.read_text())
    name, rights = document["ComponentName"], document["ComponentConfiguration"]
    serving(start).until("ready")
    access = rights["DefaultConfiguration"]["accessControl"]
    nucleus.host.own[name] = access["aws.greengrass.ipc.pubsub"]
    told = "print(json.dumps({'event': 'told', **ask(json.loads(sys.argv[1]))}), flush=True)"
    refused = "print(json.dumps({'event': 'told', **ask([{}])}), flush=True)"
    program = f"import sys\n{client}\n{told}\n{refused}"
    asker = start(name, "-c", program, SAMPLES.read_text())
    answer, refusal = asker.until("told"), asker.until("told", times=2)
    assert answer["predictions"] == json.loads(golden.read_text())["predictions"]
    assert refusal["error"]["code"] == "missing-feature"


def test_samples_that_need_many_requests_are_one_answer_of_the_consumers(
    start: Start, tmp_path: Path, golden: Path
) -> None:
    samples = tmp_path / "samples.json"
    samples.write_text(json.dumps(json.loads(SAMPLES.read_text()) * 20))
    serving(start)
    answer = consuming(start, samples).until("answer")
    assert answer["predictions"] == json.loads(golden.read_text())["predictions"] * 20
    assert answer["rows"] == 120


def test_the_service_outlives_a_nucleus_that_closes_its_socket(
    start: Start, golden: Path, nucleus: Any
) -> None:
    service = serving(start)
    service.until("ready")
    nucleus.stop()
    nucleus.start()
    service.until("ready", times=2)
    assert checking(start, golden).ends() == 0


def test_sigterm_amid_requests_answers_all_that_were_taken(start: Start, nucleus: Any) -> None:
    service = serving_with(start, "serve.LAST_ANSWERS_SECONDS = 120")  # For a slow machine.
    service.until("ready")
    client = asking(nucleus)
    sample = json.loads(SAMPLES.read_text())[:1]
    client.publish(REQUEST_TOPIC, *(encode_request(str(n), sample) for n in range(1_000)))
    heard = client.received()
    assert service.terminate() == 0
    stopped = service.events[-1]
    while len(heard) < stopped["answered"]:
        heard += client.received()
    client.close()
    assert [json.loads(answer)["id"] for answer in heard] == [str(n) for n in range(len(heard))]
    assert (stopped["event"], stopped["lost"], stopped["waiting"]) == ("stopped", 0, 0)
    assert "answers-left-behind" not in [said["event"] for said in service.events]


def test_the_largest_message_is_refused_in_the_memory_that_a_container_has(
    start: Start, nucleus: Any
) -> None:
    service = serving(start)
    service.until("ready")
    client = asking(nucleus)
    sample = json.loads(SAMPLES.read_text())[:1]
    heard: list[dict[str, Any]] = []
    for number in range(3):
        client.publish(REQUEST_TOPIC, LARGEST, encode_request(str(number), sample))
        while len(heard) < 2 * (number + 1):
            heard += map(json.loads, client.received())
    client.close()
    assert [reply["error"]["code"] for reply in heard[::2]] == ["too-large"] * 3
    assert [reply["id"] for reply in heard[1::2]] == ["0", "1", "2"]
    most = declared()["memory"]["default"] * 2**20
    assert service.peak() < most, "the kernel would kill it, without a word in its log"


@pytest.mark.parametrize("seed", range(2))
def test_any_messages_in_any_order_are_answered_within_the_bound_of_memory(
    start: Start, nucleus: Any, seed: int
) -> None:
    service = serving(start)
    service.until("ready")
    requests = worst(seed, json.loads(SAMPLES.read_text())[:1])
    replies = ask_all(lambda: asking(nucleus), requests)
    assert len(replies) == len(requests), "one each"
    ids = [request.get("id") for request in map(json.loads, filter(short, requests))]
    assert [reply["id"] for reply in replies if "id" in reply] == ids, "to whom it was asked by"
    assert service.peak_of_its_own() <= memory.LEAST


def short(request: bytes) -> bool:
    """Whether the service reads the request. Other texts than JSON have no id."""
    return len(request) <= MAX_REQUEST and request.startswith(b"{")


def test_answers_that_cant_leave_before_the_end_are_counted_as_lost(
    start: Start, owing: Any
) -> None:
    settings = "serve.LAST_ANSWERS_SECONDS = 0.1; ipc.CLOSE_SECONDS = 120"
    service = serving_with(start, settings, **owing.environment("com.ml.xgboost"))
    service.until("ready")
    client = asking(owing)
    sample = json.loads(SAMPLES.read_text())[:1]
    client.publish(REQUEST_TOPIC, *(encode_request(str(n), sample) for n in range(WINDOW + 10)))
    heard = client.received()
    while len(heard) < WINDOW:
        heard += client.received()
    assert service.terminate() == 0
    client.close()
    service.until("answers-left-behind")
    stopped = service.events[-1]
    assert (stopped["event"], stopped["answered"], stopped["lost"]) == ("stopped", WINDOW, WINDOW)
    assert stopped["waiting"] <= 10
    assert len(heard) == WINDOW, "a reply that could not be counted was answered all the same"


def test_the_service_doesnt_wait_for_a_nucleus_that_owes_replies(start: Start, owing: Any) -> None:
    """Measured: 0.01 s for an idle service, 1.6 s for this service. Java kills it after 5 s."""
    assert serve.LAST_ANSWERS_SECONDS + ipc.CLOSE_SECONDS < 2 < GRACE_SECONDS
    service = start(
        "com.ml.xgboost",
        *("-m", "edge.inference", "serve", "--model", MODEL),
        **owing.environment("com.ml.xgboost"),
    )
    service.until("ready")
    client = asking(owing)
    client.publish(REQUEST_TOPIC, encode_request("a", json.loads(SAMPLES.read_text())[:1]))
    client.received()
    client.close()
    assert service.terminate() == 0
    service.until("answers-left-behind")


@pytest.mark.parametrize("when", ["before it has a connection", "after its connection was lost"])
def test_sigterm_ends_the_service_even_without_a_nucleus(
    start: Start, nucleus: Any, when: str
) -> None:
    environment = {}
    if when.startswith("before"):
        environment["AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"] = "/nowhere/ipc.socket"
    service = start(
        "com.ml.xgboost", "-m", "edge.inference", "serve", "--model", MODEL, **environment
    )
    if not environment:
        service.until("ready")
        nucleus.stop()
    service.until("disconnected")
    assert service.terminate() == 0


@pytest.mark.parametrize(
    ("program", "first_import"),
    [(("-m", "edge.inference"), "traceback"), ((CONSUMER,), "asyncio")],
    ids=["serve and check", "consumer"],
)
def test_sigterm_is_handled_before_the_longer_imports(
    start: Start, runtime: Path, tmp_path: Path, program: tuple[object, ...], first_import: str
) -> None:
    slow = tmp_path / f"{first_import}.py"
    slow.write_text(
        """import signal\nprint('{"event": "importing"}', flush=True)\nsignal.pause()"""
    )
    started = start("com.ml.xgboost", *program, PYTHONPATH=f"{tmp_path}:{runtime}")
    started.until("importing")
    assert started.terminate() == 143, "-15 is the default, which process 1 of a container hasn't"


def test_a_check_that_is_stopped_has_not_passed(start: Start, golden: Path) -> None:
    check = checking(start, golden)
    check.until("asking")
    assert check.terminate() == 143, "-15 is the default, which process 1 of a container hasn't"


def test_a_model_is_served_packed_as_a_release_stores_it(
    start: Start, tmp_path: Path, golden: Path
) -> None:
    model = tmp_path / "model.bz2"
    model.write_bytes(bz2.compress(MODEL.read_bytes()))
    assert serving(start, model).until("ready")["model"] == json.loads(golden.read_text())["model"]


def test_an_operator_sees_what_the_service_did_in_its_log_and_by_asking(
    start: Start, nucleus: Any
) -> None:
    until_told = "import os; serve.time.sleep = lambda _: os.read(0, 1)"
    service = serving_with(start, until_told)
    service.until("ready")
    client = asking(nucleus)
    client.publish(REQUEST_TOPIC, encode_request("a", json.loads(SAMPLES.read_text())))
    assert json.loads(client.received()[0])["id"] == "a"
    service.end_sleep()
    before = service.until("summary")
    assert before["requests"] == 1
    client.publish(REQUEST_TOPIC, b"nonsense")
    assert "error" in json.loads(client.received()[0])
    service.end_sleep()
    told = service.until("summary", times=2)
    client.publish(REQUEST_TOPIC, b'{"id": "b", "stats": true}')
    (answer,) = client.received()
    client.close()
    asked = json.loads(answer)
    assert (asked["id"], asked["stats"]["model"]) == ("b", service.events[0]["model"])
    assert service.terminate() == 0
    assert set(asked["stats"]) | {"time", "event", "period"} == set(told)
    # The nucleus confirms a reply after its asker has it. So the last reply of a period may be
    # missing.
    assert before["period"]["replies"] + told["period"]["replies"] in (1, 2)
    assert told["requests"] == 2
    assert asked["stats"]["refused"] == told["refused"] == {"not-json": 1}
