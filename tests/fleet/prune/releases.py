"""Releases in an account, and prune as a command."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from fleet.__main__ import app
from fleet.prune import Held, Parts, remove, superfluous_in
from infra.names import CHECK, CONSUMER, SERVICE
from infra.publish.release_records import Record
from tests.infra.fakes import (
    CONTEXT,
    NAME,
    NOON,
    THING_ARN,
    Account,
    component_arn,
    spec,
)

TAGS = {"edge-inference:project": "edge-inference", "edge-inference:stack": "dev"}

BUCKET, REPOSITORY = CONTEXT.bucket, CONTEXT.repository


# The rule, over histories


@dataclass(frozen=True)
class Content:
    """A tree that is published. Two releases share what both contain."""

    model: int
    consumer: int
    code: int

    @property
    def outputs(self) -> dict[str, Any]:
        release = f"{self.model}{self.consumer}{self.code}"
        arns = (f"model-{self.model}", f"golden-{self.model}", f"consumer-{self.consumer}")
        return {
            "release": release,
            "components": {
                SERVICE: f"1.{self.model}.{self.code}",
                CONSUMER: f"1.{self.consumer}.{self.code}",
                CHECK: f"1.0.{release}",
            },
            "objects": [f"arn:aws:s3:::{BUCKET}/{arn}" for arn in arns],
            "image": {"amd64": f"{REPOSITORY}@sha256:{self.code}"},
            "sboms": {"amd64": f"s3://{BUCKET}/sbom-{self.code}"},
        }


def record(content: Content) -> Record:
    return Record(outputs=content.outputs, stored=NOON)


def parts(*contents: Content) -> Parts:
    return Parts.of([record(content) for content in contents])


small = st.integers(0, 2)

contents = st.builds(Content, small, small, small)


# The requests to AWS, and what is removed


@dataclass
class Published:
    """A stack's releases in the account, oldest first."""

    account: Account

    def __post_init__(self) -> None:
        self.account.buckets[BUCKET] = TAGS
        self.account.repositories[REPOSITORY] = TAGS
        self.account.objects[BUCKET] = {}

    def add(self, content: Content) -> dict[str, Any]:
        outputs = content.outputs
        for name, version in outputs["components"].items():
            self.account.components[component_arn(name, version)] = TAGS
        for arn in outputs["objects"]:
            self.account.objects[BUCKET].setdefault(arn.partition("/")[2], b"")
        self.account.objects[BUCKET].setdefault(f"sbom-{content.code}", b"")
        self.account.images[REPOSITORY, f"amd64-{content.code}"] = f"sha256:{content.code}"
        key = f"releases/{outputs['release']}.json"
        self.account.objects[BUCKET][key] = json.dumps(outputs).encode()
        return outputs

    def deploy(self, content: Content, target: str = THING_ARN, name: str = NAME) -> str:
        versions = content.outputs["components"].items()
        return self.account.deploy(target, name, {one: spec(version) for one, version in versions})

    @property
    def kept(self) -> list[str]:
        return [key for key in self.account.objects[BUCKET] if key.startswith("releases/")]

    def prune(self, keep: int = 1, own: Content | None = None) -> list[str]:
        """What is printed before all of it is removed."""
        held = Held(record=record(own or NEW).key, parts=parts(own or NEW))
        found = superfluous_in(CONTEXT, held, keep=keep)
        remove(CONTEXT, found)
        return list(found.lines(BUCKET, keep=keep))


OLD, MIDDLE, NEW = Content(0, 0, 0), Content(1, 0, 1), Content(2, 0, 2)


def run(*options: str) -> Result:
    return CliRunner().invoke(app, ["prune", "--stack", "dev", *options])
