"""Breaks things on devices of either flavour, and checks what an operator then sees."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Self

from greenhouse.faults import Faults
from tests.whole.place import Place

LAST = 15  # Lines that a terminal of 24 shows above Pulumi's count of resources.
CHECK_SECONDS = 10
AROUND_SECONDS = 60  # Of an update without its wait, including the image.
_CHECKS = count(
    CHECK_SECONDS + 1
)  # Each makes another version of com.ml.check, and of nothing else.

Sabotage = Callable[[Place], AbstractContextManager[None]]


@dataclass(frozen=True)
class Good:
    """What the device answers before anything is broken."""

    model: str
    predictions: list[float]

    @classmethod
    def of(cls, place: Place) -> Self:
        """The answers after a first update."""
        place.configure(rollout_timeout=120, check_timeout=CHECK_SECONDS, consumer_interval=1)
        place.up()
        model = place.outputs()["model"]
        return cls(model, place.await_answers(model))


def assert_up_fails(place: Place, good: Good, sabotage: Sabotage, reason: str) -> None:
    """It fails within its time-out, with the reason in its last lines.

    The device answers as before.
    """
    with sabotage(place):
        most, began = place.config()["rollout_timeout"] + AROUND_SECONDS, time.monotonic()
        said = place.up(ok=False)
        assert time.monotonic() - began < most, said
    assert re.search(reason, last_lines(said)), said
    assert place.await_answers(good.model) == good.predictions


def last_lines(said: str) -> str:
    """The lines before Pulumi's count of resources, which is always the end."""
    told = said.partition("\nResources:\n")[0].rstrip().splitlines()
    return "\n".join(told[-LAST:])


@contextmanager
def an_image_that_cannot_start(place: Place) -> Iterator[None]:
    with place.edited("edge/inference/program.py", lambda text: f"{text}\nraise SystemExit(70)\n"):
        yield


@contextmanager
def a_consumer_that_crashes(place: Place) -> Iterator[None]:
    with place.edited(
        "edge/consumer/consumer.py",
        lambda text: text.replace(
            "from __future__ import annotations\n",
            "from __future__ import annotations\nraise SystemExit(70)\n",
        ),
    ):
        yield


@contextmanager
def a_service_that_ends(place: Place) -> Iterator[None]:
    """Its container answers and passes the check, but nobody watches it: its `run` is FINISHED."""
    watched = "scripts.stays(_container(name), run)"
    unwatched = """f'c="{_container(name)}"; {run.replace("--rm", "-d --rm")}'"""
    with place.edited("infra/publish/recipe.py", lambda text: text.replace(watched, unwatched)):
        yield


@contextmanager
def a_pull_that_is_denied(place: Place) -> Iterator[None]:
    change_the_check(place)
    with fault(place.home.device(place.thing), "pull-fails:denied"):
        yield


def change_the_check(place: Place) -> None:
    """Something new to deploy that needs no new image and stops no service."""
    place.configure(check_timeout=next(_CHECKS))


@contextmanager
def configured(place: Place, **values: Any) -> Iterator[None]:
    before = place.config()
    place.configure(**values)
    try:
        yield
    finally:
        place.configure(**{name: before.get(name) for name in values})


@contextmanager
def fault(folder: Path, name: str) -> Iterator[None]:
    faults = Faults(folder)
    faults.set(name)
    try:
        yield
    finally:
        faults.clear()
