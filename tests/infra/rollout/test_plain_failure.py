"""A failed update ends in its reason, in Pulumi's own host of dynamic providers."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from google.protobuf import struct_pb2  # type: ignore[import-untyped]
from pulumi import dynamic
from pulumi.runtime.proto import provider_pb2

from infra.errors import RolloutFailed
from infra.rollout.plain_failure import plain_failure
from tests.infra.fakes import Refused


class Fails(dynamic.ResourceProvider):
    """A provider whose create fails as it was told to."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def create(self, props: dict[str, Any]) -> dynamic.CreateResult:  # noqa: ARG002
        with plain_failure():
            raise self._error


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module that Pulumi starts with `python -m`, as that process has it."""
    spec = importlib.util.find_spec("pulumi.dynamic.__main__")
    assert spec
    assert spec.origin
    source = Path(spec.origin).read_text()
    assert source.endswith("\nmain()\n"), "which serves for good"
    module = ModuleType("__main__")
    exec(source.removesuffix("main()\n"), vars(module))  # noqa: S102  # Pulumi's own file
    monkeypatch.setitem(sys.modules, "__main__", module)
    monkeypatch.setattr(module, "configure", lambda _: None)
    return module


def told(host: ModuleType, error: Exception) -> str:
    """What the engine is told of a create that fails."""
    host._PROVIDER_CACHE["ours"] = Fails(error)
    properties = struct_pb2.Struct()
    properties.update({host.PROVIDER_KEY: "ours"})
    said: list[str] = []

    def abort(_: object, details: str) -> None:
        said.append(details)
        raise Refused

    with pytest.raises(Refused):
        host.DynamicResourceProviderServicer().Create(
            provider_pb2.CreateRequest(properties=properties), SimpleNamespace(abort=abort)
        )
    return said[-1]


def test_our_own_failure_is_its_message_alone(host: ModuleType) -> None:
    assert told(host, RolloutFailed("press-1 is BROKEN\nmend it")) == "press-1 is BROKEN\nmend it"


def test_an_error_that_nobody_expected_keeps_its_traceback(host: ModuleType) -> None:
    told(host, RolloutFailed("press-1 is BROKEN"))
    said = told(host, KeyError("no such thing"))
    assert said.startswith("Traceback"), "it is the only way to see where that came from"
    assert "test_plain_failure.py" in said
    assert said.rstrip().endswith("KeyError: 'no such thing'")
    assert not hasattr(sys, "tracebacklimit"), "nor has anybody else in this process lost theirs"
