"""The program as the tests run it, and what it has registered."""

from __future__ import annotations

import bz2
import json
import runpy
from pathlib import Path
from typing import Any

import pulumi
import pytest

from infra.names import COMPONENTS
from tests.infra.fakes import REGION
from tests.infra.pulumi_engine import DIGEST, Engine, Registered
from tests.infra.pulumi_yaml import config_of

BOTH = ["amd64", "aarch64"]

ENDS = ("residue", "nobody-follows")  # The ends of a stack: everything is between them.

PROVIDERS = ("aws", "aws-native")

UPSTREAM: dict[str, Any] = {
    "release": "cafe0123",
    "model": "abc",
    "components": {name: f"1.{number}.7" for number, name in enumerate(COMPONENTS)},
    "objects": ["arn:aws:s3:::edge-inference-dev/1/model.json"],
    "repository_arn": "arn:aws:ecr:eu-west-1:123456789012:repository/edge-inference/dev",
    "repository": "edge-inference/dev",
    "bucket": "edge-inference-dev",
    "image": {"amd64": f"somewhere@{DIGEST}"},
    "samples": "s3://edge-inference-dev/2/samples.json",
    "golden": "s3://edge-inference-dev/3/golden.json",
}


class Program:
    """One run of __main__.py: what it registered and exported."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.engine = Engine(upstream=UPSTREAM)
        self.exported: dict[str, Any] = {}
        self.aws: dict[str, str] = {"aws:region": REGION}  # Config by namespace and key.
        self.told: dict[str, dict[str, Any]] = {}  # Other answers of plugins, by function.

    def run(self, stack: str = "dev", **values: object) -> Engine:
        self.engine, self.exported = Engine(upstream=UPSTREAM, told=self.told), {}

        def export(name: str, value: object) -> None:
            pulumi.Output.from_input(value).apply(
                lambda known: self.exported.__setitem__(name, known)
            )

        self._monkeypatch.setattr(pulumi, "export", export)
        self.engine.run(
            lambda: runpy.run_path("__main__.py") and None,
            stack=stack,
            config=config_of(None, **values) | self.aws,
        )
        return self.engine


def by_urn(engine: Engine) -> dict[str, Registered]:
    return {one.urn: one for one in engine.registered}


def waits_for(engine: Engine, later: Registered, earlier: Registered) -> bool:
    """Whether `later` is made only after `earlier`, over any number of steps.

    A resource waits for its parent and its provider, and is destroyed before them. pulumi's engine
    counts them among the dependencies (pkg/resource/graph/dependency_graph.go, DependenciesOf).
    """
    everything, seen, open_ = by_urn(engine), set(), [later.urn]
    while open_:
        urn = open_.pop()
        if urn not in seen:
            seen.add(urn)
            one = everything[urn]
            open_.extend({*one.depends_on, one.parent, one.provider} & everything.keys())
    return earlier.urn in seen


def recipes(engine: Engine) -> dict[str, dict[str, Any]]:
    return {
        one.name: json.loads(one.inputs["inlineRecipe"])
        for one in engine.of_type("greengrassv2:ComponentVersion")
    }


def files(engine: Engine) -> list[Registered]:
    """The objects that devices download."""
    return [one for one in engine.of_type("BucketObjectv2") if one.name != "record"]


def content(one: Registered) -> bytes:
    """An object's content, unpacked."""
    asset = one.inputs["source"]
    if isinstance(asset, pulumi.StringAsset):
        return str(asset.text).encode()
    stored = Path(asset.path).read_bytes()
    return bz2.decompress(stored) if one.inputs["key"].endswith(".bz2") else stored
