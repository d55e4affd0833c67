"""A nucleus for the runtime's tests: greenhouse's broker, which replays real frames."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from edge.inference.engines import forest
from greenhouse.device.flavours.lite.flavour import Lite
from greenhouse.device.ipc import operations
from greenhouse.device.ipc.broker import Broker, Connect, connect_java
from greenhouse.device.ipc.connection import Connection
from greenhouse.device.ipc.topics import Topics
from greenhouse.toolchain import Toolchain
from tests.bench import images
from tests.edge.compiling import shipped
from tests.edge.runtime.programs import Program, Start

T = TypeVar("T")
EDGE = Path(__file__).parents[3] / "edge"
PUBSUB = {"operations": ["*"], "resources": ["local/inference", "local/result"]}


@dataclass
class Host:
    """A device that lets components use both topics. `states` has what they report.

    `own` has the rights of a component with rights of its own.
    """

    states: list[str] = field(default_factory=list)
    access: dict[str, Any] = field(default_factory=lambda: {"both topics": PUBSUB})
    own: dict[str, dict[str, Any]] = field(default_factory=dict)

    def configuration(self, component: str) -> Mapping[str, Any]:
        access = self.own.get(component, self.access)
        return {"accessControl": {"aws.greengrass.ipc.pubsub": access}}

    def merge_configuration(self, *_: object) -> None:
        raise AssertionError("the runtime doesn't configure anything")

    def report_state(self, _component: str, state: str) -> None:
        self.states.append(state)


def connect_owing(
    host: operations.Host,
    topics: Topics,
    *,
    thing: str,
    component_of: Callable[[str], str | None],
    send: Callable[[bytes], None],
) -> Connection:
    """A nucleus that publishes the service's messages, but never confirms them."""

    def but_for_replies(frame: bytes) -> None:
        if connection.component != "com.ml.xgboost" or b"PublishToTopicResponse" not in frame:
            send(frame)

    connection = connect_java(
        host, topics, thing=thing, component_of=component_of, send=but_for_replies
    )
    return connection


class Nucleus:
    """The broker on a thread of its own, so that a blocking client can use it."""

    def __init__(self, root: Path, connect: Connect) -> None:
        self.root = root
        self.host = Host()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="nucleus")
        self._thread.start()
        self._broker = Broker(root, self.host, connect=connect)
        self.start()

    @property
    def socket(self) -> Path:
        return self._broker.path

    def start(self) -> None:
        self._wait(self._broker.start())

    def stop(self) -> None:
        self._wait(self._broker.stop())

    @contextmanager
    def hanging(self, *, then_drops: bool = False) -> Iterator[None]:
        """Alive, but not reading. At the end it reads on, or first closes every connection."""
        go_on = threading.Event()
        self._loop.call_soon_threadsafe(go_on.wait, 120)
        try:
            yield
        finally:
            if then_drops:
                self._loop.call_soon_threadsafe(self._drop)
            go_on.set()

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def environment(self, component: str) -> dict[str, str]:
        """The variables that Greengrass puts into a component's environment."""
        return {
            "SVCUID": self._call(lambda: self._broker.token(component)),
            "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT": str(self.socket),
            "AWS_IOT_THING_NAME": "bench-1",
        }

    def forget(self, component: str) -> None:
        """Deliver nothing more to a component. Its connection and stream stay open."""

        def lose() -> None:
            for subscription in self._broker._topics._subscriptions:
                if subscription.component == component:
                    object.__setattr__(subscription, "topic", "nowhere")  # The object is frozen.

        self._call(lose)

    def _drop(self) -> None:
        for wire in list(self._broker._open):
            wire.abort()

    def _wait(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(120)

    def _call(self, work: Callable[[], T]) -> T:
        done: Future[T] = Future()
        self._loop.call_soon_threadsafe(lambda: done.set_result(work()))
        return done.result(120)


StartNucleus = Callable[[Connect], Nucleus]


@pytest.fixture
def start_nucleus(tmp_path: Path) -> Iterator[StartNucleus]:
    """Start a nucleus with the given connections."""
    running: list[Nucleus] = []

    def start(connect: Connect) -> Nucleus:
        running.append(Nucleus(tmp_path / f"nucleus-{len(running)}", connect))
        return running[-1]

    yield start
    for nucleus in running:
        nucleus.close()


@pytest.fixture
def nucleus(request: pytest.FixtureRequest, start_nucleus: StartNucleus) -> Nucleus:
    """The Java nucleus. A test's parameter may name other connections."""
    return start_nucleus(getattr(request, "param", connect_java))


@pytest.fixture
def lite(start_nucleus: StartNucleus) -> Nucleus:
    """Nucleus Lite: other errors, streams that stay open, a limit for each message."""
    return start_nucleus(Lite().connection)


@pytest.fixture
def owing(start_nucleus: StartNucleus) -> Nucleus:
    return start_nucleus(connect_owing)


@pytest.fixture(scope="session")
def runtime(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image's folder /app, without what comes from PyPI."""
    app = tmp_path_factory.mktemp("app")
    shutil.copytree(
        EDGE / "inference", app / "edge/inference", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(library, app / "edge/inference/engines")
    return app


@pytest.fixture(scope="session")
def foreign(tools: Toolchain) -> Iterator[str]:
    """The base of arm64's image, made from Debian's packages. It takes half a minute."""
    assert tools.path
    yield images.foreign_base("arm64")
    images.remove()


@pytest.fixture
def golden(library: Path, tmp_path: Path) -> Path:
    """The evaluator's own answers. test_forest proves that they are XGBoost's."""
    evaluator = forest.Evaluator(bytearray(shipped().read_bytes()), library)
    model = evaluator.model
    records = json.loads((EDGE / "consumer/samples.json").read_text())
    rows = [[record[name] for name in model.feature_names] for record in records]
    path = tmp_path / "golden.json"
    predictions = evaluator.predict(rows)
    path.write_text(json.dumps({"model": model.id, "predictions": predictions}))
    return path


@pytest.fixture
def start(runtime: Path, nucleus: Any) -> Iterator[Start]:
    """Start a program as a component. It is killed if it still runs after the test."""
    started: list[Program] = []

    def start(component: str, *arguments: object, **environment: str) -> Program:
        variables = {
            **os.environ,
            **nucleus.environment(component),
            "PYTHONPATH": str(runtime),
            "PYTHONSAFEPATH": "1",  # As in the image: the checkout has the package as well.
            **environment,
        }
        program = Program([str(argument) for argument in arguments], variables)
        started.append(program)
        return program

    yield start
    for program in started:
        program.kill()
