"""Two stacks on one device, each with a model: each runs, changes and goes independently.

tests/infra/preflight/test_several.py has every order with fakes. Here the real engine, the real
containers and the real answers run a few of them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
import pytest
import xgboost
import yaml

from greenhouse import account, after_up_and_down
from greenhouse.environment import aws_environment
from infra.names import Names
from tests.whole.calls import Calls
from tests.whole.crashes.killing import kill_group, killed_once
from tests.whole.inventory import Inventory
from tests.whole.place import STACK, Place, wait_until

pytestmark = pytest.mark.whole

SHIPPED, SAMPLES = "edge/models/wine-quality.json", "edge/consumer/samples.json"
GROUP = "both-models"
MADE = "CreateResource Deployment"


@dataclass
class Model:
    """A stack with its model, and what devices may answer for it."""

    place: Place
    stack: str
    names: Names
    answers: dict[str, list[float]] = field(default_factory=dict)  # By the ids of its models.
    earlier: int = 0  # Answers of another story, in the same log.

    def __post_init__(self) -> None:
        self.earlier = len(self.heard())

    @property
    def file(self) -> Path:
        return self.place.tree / f"{self.stack}.json"

    def configure(self, **values: str | None) -> None:
        path = self.place.tree / f"Pulumi.{self.stack}.yaml"
        document = yaml.safe_load(path.read_text())
        for name, value in values.items():
            key = f"edge-inference:{name.replace('_', '-')}"
            document["config"].pop(key, None)
            if value is not None:
                document["config"][key] = value
        path.write_text(yaml.safe_dump(document))

    def takes(self, rounds: int) -> None:
        """The first rounds of the shipped model are its model from now on."""
        booster = xgboost.Booster(model_file=self.place.tree / SHIPPED)[:rounds]
        booster.save_model(self.file)
        rows = json.loads((self.place.tree / SAMPLES).read_text())
        names = booster.feature_names or []
        values = numpy.array([[row[name] for name in names] for row in rows])
        matrix = xgboost.DMatrix(values, feature_names=names)
        self.next = [float(one) for one in booster.predict(matrix)]

    @property
    def up_command(self) -> tuple[str, ...]:
        return ("up", "--stack", self.stack, "--yes", "--skip-preview", "--suppress-outputs")

    def up(self) -> None:
        self.place.pulumi(*self.up_command)
        self.answers[self.model] = self.next

    @property
    def model(self) -> str:
        shown = self.place.pulumi("stack", "output", "--stack", self.stack, "--json")
        return str(json.loads(shown)["model"])

    def heard(self) -> Sequence[Mapping[str, Any]]:
        """Every answer that its consumer has got, oldest first."""
        log = self.place.home.device(self.place.thing) / "logs" / f"{self.names.consumer}.log"
        return list(after_up_and_down.component_events(log, "answer"))[self.earlier :]

    def await_answers(self) -> None:
        """Its newest model answers, and no answer has come from another's model."""
        before, model = len(self.heard()), self.model
        wait_until(
            lambda: any(one["model"] == model for one in self.heard()[before:]),
            seconds=120,
            why=f"{self.names.consumer} hears nothing from {model}",
        )
        for one in self.heard():
            assert list(one["predictions"]) == self.answers[one["model"]], one


@dataclass
class Both:
    wine: Model
    noise: Model

    def __post_init__(self) -> None:
        self._rounds = iter(range(60, 1, -1))  # Each model is another one.
        self._alive: set[str] = set()

    def step(self, said: str, calls: Calls) -> None:
        """One step of a story: who, and what."""
        whose, _, what = said.partition(" ")
        model = self.wine if whose == "wine" else self.noise
        place = model.place
        if what in ("up", "changed", "killed"):
            model.takes(next(self._rounds))
        if what == "killed":  # When its deployment exists, and before its state knows.
            died = killed_once(place, calls, *model.up_command, kill=kill_group, counts=MADE.__eq__)
            assert MADE in died
            model.answers |= {self._id_of(model): model.next}
            self._alive.discard(whose)  # Until its next update nobody knows which one answers.
            return
        if what in ("up", "changed"):
            model.up()
            self._alive.add(whose)
        elif what == "back":
            place.fleet("rollback", "--stack", model.stack, "--release", "previous")
            self._alive.add(whose)
        else:
            place.pulumi("destroy", "--stack", model.stack, "--yes", "--skip-preview")
            self._alive.discard(whose)
        for name in sorted(self._alive):
            other = self.wine if name == "wine" else self.noise
            other.await_answers()
            place.pulumi("preview", "--stack", other.stack, "--expect-no-changes")
            if name != whose:
                status = json.loads(place.fleet("status", "--stack", other.stack, "--json"))
                drift = [
                    line for one in status for target in one["targets"] for line in target["drift"]
                ]
                assert drift == [], "the other has only been carried on"

    def _id_of(self, model: Model) -> str:
        """The id of the model that a killed update has published."""
        record = model.place.fleet("model", "--", str(model.file))
        return next(line.split()[1] for line in record.splitlines() if line.startswith("id"))


@pytest.fixture
def both(watched: Place, request: pytest.FixtureRequest) -> Iterator[Both]:
    """Stack local, and a second stack to the same device, by its thing or by a group of it."""
    place, noise = watched, Names(prefix="com.noise")
    local = yaml.safe_load((place.tree / f"Pulumi.{STACK}.yaml").read_text())
    second = place.tree / "Pulumi.noise.yaml"
    second.write_text(yaml.safe_dump({"config": local["config"]}))
    place.pulumi("stack", "select", "noise", "--create")
    models = Both(wine=Model(place, STACK, Names()), noise=Model(place, "noise", noise))
    models.wine.configure(model="local.json")
    models.noise.configure(model="noise.json")
    if request.param == "group":
        endpoint = aws_environment(place.ports)["AWS_ENDPOINT_URL"]
        iot = account.session(place.ports).client("iot", endpoint_url=endpoint)
        iot.create_thing_group(thingGroupName=GROUP)
        iot.add_thing_to_thing_group(thingGroupName=GROUP, thingName=place.thing)
        models.noise.configure(thing=None, thing_group=GROUP)
    yield models
    if request.param == "group":
        iot.remove_thing_from_thing_group(thingGroupName=GROUP, thingName=place.thing)
        iot.delete_thing_group(thingGroupName=GROUP)
    models.wine.configure(model=None, release=None)
    second.unlink()
    place.pulumi("stack", "rm", "noise", "--yes", "--force", "--preserve-config")


APART = {"component_prefix": "com.noise", "request_topic": "noise/ask", "answer_topic": "noise/say"}


def is_refused(model: Model, said: str) -> None:
    told = model.place.pulumi("preview", "--stack", model.stack, ok=False)
    assert said in told, told


def ask(model: Model, *arguments: str) -> str:
    """The output of `make ask`."""
    done = subprocess.run(
        [sys.executable, "-m", "greenhouse", "ask", "--stack", model.stack, *arguments],
        env=model.place.env | {"GREENHOUSE_HOME": str(model.place.home.root)},
        cwd=model.place.tree,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("both", ["thing"], indirect=True)
def test_a_second_model_comes_and_goes_beside_the_first(both: Both, calls: Calls) -> None:
    place = both.wine.place
    place.await_tenant()
    before = Inventory.of(place)
    both.step("wine up", calls)
    both.noise.takes(30)
    is_refused(both.noise, "by stack local): deploys com.ml.xgboost")
    both.noise.configure(component_prefix="com.noise")
    is_refused(both.noise, "local/inference, of com.ml.xgboost by stack local")
    both.noise.configure(**APART)
    both.step("noise up", calls)
    for model in (both.wine, both.noise):
        asked = ask(model, "--rows", SAMPLES)
        assert f"answered by {model.names.prefix} {model.model}" in asked
        for answer in model.answers[model.model]:
            assert repr(answer) in asked
        assert "fixed acidity" in ask(model), "without rows it tells what can be asked"
    for said in ("noise gone", "wine gone"):
        both.step(said, calls)
    with pytest.raises(AssertionError, match="make status STACK=local"):
        ask(both.wine)
    assert Inventory.of(place) == before


ORDERS = [
    "wine up, noise up, wine killed, noise changed, wine up, noise back, wine gone, noise gone",
    "noise up, wine up, noise killed, wine changed, noise up, wine back, wine gone, noise gone",
    "wine up, noise killed, wine changed, noise up, wine killed, noise gone, wine back, wine gone",
    "noise up, wine killed, noise gone, wine up, wine gone",
]


@pytest.mark.matrix
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("both", ["thing", "group"], indirect=True)
def test_two_models_on_a_device_take_turns_in_any_order(
    both: Both, calls: Calls, order: str
) -> None:
    place, stacks = both.wine.place, (both.wine.stack, both.noise.stack)
    place.await_tenant()
    before = Inventory.of(place, stacks)
    both.noise.configure(**APART)
    for said in order.split(", "):
        both.step(said, calls)
    assert Inventory.of(place, stacks) == before
