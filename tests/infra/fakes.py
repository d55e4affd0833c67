"""An AWS account with a memory, behind real boto3 clients.

The clients are boto3's own. So they check parameters against the services' models, read pages and
raise modelled errors. Only the request is answered here, from memory. The answers are in
`services`, a module for a few services each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Self

import boto3
import botocore.session
import pytest
from botocore.exceptions import EndpointConnectionError
from botocore.loaders import Loader

from infra.account import clients
from infra.account.clients import Clients
from tests.infra.services.contents import (
    ACCOUNT,
    CONTEXT,
    DEVICE_ROLE,
    GOOD,
    GROUP_ARN,
    NAME,
    NOON,
    OTHER,
    REGION,
    THING_ARN,
    TRUST,
    WANTED,
    Device,
    Refused,
    component_arn,
    spec,
)
from tests.infra.services.greengrass import Greengrass
from tests.infra.services.identity import Identity
from tests.infra.services.storage import Storage

__all__ = [
    "ACCOUNT",
    "CONTEXT",
    "DEVICE_ROLE",
    "GOOD",
    "GROUP_ARN",
    "NAME",
    "NOON",
    "OTHER",
    "REGION",
    "THING_ARN",
    "TRUST",
    "WANTED",
    "Account",
    "Device",
    "Killed",
    "Refused",
    "Time",
    "component_arn",
    "spec",
]

_MODELS = Loader()  # Read once for all tests, as each model takes a quarter of a second.


class Killed(BaseException):
    """It ends a program like SIGKILL: nothing runs after it."""


@dataclass
class Account(Greengrass, Identity, Storage):
    """The account, and every request that came (`asked`), in order."""

    @classmethod
    def with_a_device(cls, monkeypatch: pytest.MonkeyPatch) -> Self:
        """One thing, press-1, a core device with nothing on it. Every client asks this account."""
        account = cls(devices={"press-1": Device()}, things={"press-1": THING_ARN})
        session = account.session()
        monkeypatch.setattr(Clients, "_session", property(lambda _: session))
        clients.shared.cache_clear()
        # No other way leads to AWS.
        monkeypatch.setenv("AWS_REGION", REGION)
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        monkeypatch.setenv("AWS_ENDPOINT_URL_GREENGRASSV2", "http://127.0.0.1:1")
        return account

    @property
    def changes(self) -> list[str]:
        """The operations that changed something."""
        changing = ("Create", "Delete", "Cancel", "BatchDelete", "Put")
        return [operation for operation, _ in self.asked if operation.startswith(changing)]

    def session(self) -> boto3.Session:
        core = botocore.session.get_session()
        core.register_component("data_loader", _MODELS)
        session = boto3.Session(
            botocore_session=core,
            region_name=REGION,
            aws_access_key_id="nobody",
            aws_secret_access_key="nothing",
        )
        session.events.register("before-parameter-build", _remember)
        # botocore uses the returned value, although its stubs don't say so.
        answer: Any = self._answer
        session.events.register("before-call", answer)
        return session

    def _answer(self, model: Any, context: dict[str, Any], **_: Any) -> tuple[Any, dict[str, Any]]:
        if self.killed_at is not None and len(self.asked) >= self.killed_at:
            raise Killed
        if not self.reachable:
            raise EndpointConnectionError(endpoint_url=f"https://{REGION}")
        asked = context["asked"]
        self.asked.append((model.name, asked))
        try:
            if model.name in self.denied:
                raise Refused("AccessDeniedException")  # noqa: TRY301  # an answer as any other
            name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", model.name).lower()
            return SimpleNamespace(status_code=200), getattr(self, f"_{name}")(**asked)
        except Refused as error:
            return SimpleNamespace(status_code=400), {
                "Error": {"Code": str(error), "Message": f"{model.name} {asked}"}
            }


class Time:
    """A clock without waiting: each pause runs the next event of the test's world."""

    def __init__(self, *events: Callable[[], object]) -> None:
        self.passed = 0.0
        self._events: Iterator[Callable[[], object]] = iter(events)

    def now(self) -> float:
        return self.passed

    def pause(self, seconds: float) -> None:
        self.passed += seconds
        next(self._events, lambda: None)()


def _remember(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    context["asked"] = dict(params)
