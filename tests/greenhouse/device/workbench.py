"""A device on a bench: the real nucleus in this process, a fake cloud, real scripts."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semver import Version

from greenhouse.cloud.greengrassv2.recipe import fits, read_recipe
from greenhouse.cloud.greengrassv2.versions import parse_range
from greenhouse.device.flavours import Flavour
from greenhouse.device.flavours.java import Java
from greenhouse.device.folders import Folders
from greenhouse.device.nucleus import Nucleus, Settings

THING = "bench"
THING_ARN = f"arn:aws:iot:eu-west-1:123456789012:thing/{THING}"
GROUP_ARN = "arn:aws:iot:eu-west-1:123456789012:thinggroup/fleet"
DEADLINE = 120.0

# The parts that the Java nucleus adds to a line, which the lab left out of its records.
_CONTEXT = re.compile(r"\. {scriptName=.*|, serviceName=.*(?=})")

ENDED = ("SUCCEEDED", "COMPLETED", "FAILED")


def recipe(name: str, version: str = "1.0.0", **keys: Any) -> dict[str, Any]:
    """A recipe with a lifecycle and, if asked, Artifacts, ComponentDependencies and others."""
    manifest = {
        "Platform": {"os": "linux", "runtime": "*"},
        "Lifecycle": keys.pop("lifecycle", {}),
        "Artifacts": keys.pop("artifacts", []),
    }
    return {
        "RecipeFormatVersion": "2020-01-25",
        "ComponentName": name,
        "ComponentVersion": version,
        "Manifests": [manifest],
        **keys,
    }


@dataclass
class FakeCloud:
    """Knows recipes and deployments, and remembers every report."""

    recipes: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    deployments: dict[str, dict[str, Any]] = field(default_factory=dict)  # By target.
    reports: list[Mapping[str, Any]] = field(default_factory=list)
    executions: dict[str, dict[str, Any]] = field(default_factory=dict)
    member_of: set[str] | None = field(default_factory=lambda: {GROUP_ARN})
    _listener: Callable[[list[dict[str, Any]]], None] = lambda _listed: None
    _number: Any = field(default_factory=itertools.count)

    def publish(self, *documents: Mapping[str, Any]) -> None:
        for document in documents:
            stored = read_recipe(json.dumps(document).encode())
            for given, kept in zip(
                document["Manifests"][0]["Artifacts"], stored.artifacts(), strict=False
            ):
                if "Digest" in given:
                    kept["Digest"] = given["Digest"]
            self.recipes[stored.name, stored.version] = stored.document

    def create_deployment(
        self,
        components: Mapping[str, Any],
        *,
        target: str = THING_ARN,
        policy: str = "ROLLBACK",
    ) -> str:
        number = next(self._number)
        self.deployments[target] = {
            "deploymentId": f"d{number}",
            "targetArn": target,
            "deploymentName": "bench",
            "components": {
                name: {"componentVersion": one} if isinstance(one, str) else one
                for name, one in components.items()
            },
            "deploymentPolicies": {"failureHandlingPolicy": policy},
            "creationTimestamp": number,
        }
        self._listener(list(self.deployments.values()))
        return f"d{number}"

    def follow(self, listed: Callable[[list[dict[str, Any]]], None]) -> None:
        self._listener = listed
        listed(list(self.deployments.values()))

    def report(self, body: Mapping[str, Any]) -> None:
        self.reports.append(body)
        for one in body.get("effectiveDeployments", []):
            self.executions[one["deploymentId"]] = one

    def choose(
        self, component: str, requirements: Mapping[str, str], attributes: Mapping[str, str]
    ) -> dict[str, Any] | None:
        ranges = [parse_range(text) for text in requirements.values()]
        fitting = [
            (Version.parse(version), document)
            for (name, version), document in self.recipes.items()
            if name == component
            and all(each.admits(Version.parse(version)) for each in ranges)
            and fits(document, attributes)
        ]
        return max(fitting, key=lambda one: one[0])[1] if fitting else None

    def groups(self) -> set[str] | None:
        return self.member_of

    def pictures(self) -> list[Mapping[str, Any]]:
        """The reports that tell of components, oldest first."""
        return [report for report in self.reports if "components" in report]

    def installed(self) -> dict[str, tuple[str, str]]:
        """Version and state of every component, as last reported."""
        return states(self.pictures()[-1])

    def told(self, component: str) -> list[str]:
        """The states that were reported of it, each change once."""
        seen = [states(picture).get(component, ("", ""))[1] for picture in self.pictures()]
        return [state for state, _ in itertools.groupby(seen) if state]


def states(picture: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """A report's components: their versions and states."""
    return {
        one["componentName"]: (one["componentVersion"], one["lifecycleState"])
        for one in picture["components"]
    }


class FakeIam:
    """A role with the given statements, in botocore's shapes."""

    def __init__(self, *statements: Mapping[str, Any]) -> None:
        self.statements = statements
        self.asked = 0

    def get_paginator(self, operation: str) -> FakeIam:
        self._operation = operation
        return self

    def paginate(self, **_names: str) -> list[dict[str, Any]]:
        self.asked += 1
        if self._operation == "list_role_policies":
            return [{"PolicyNames": ["inline"]}]
        return [{"AttachedPolicies": []}]

    def get_role_policy(self, **_names: str) -> dict[str, Any]:
        return {"PolicyDocument": {"Statement": list(self.statements)}}


class FakeS3:
    """Objects by bucket and key. It remembers what was fetched."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], bytes] = {}
        self.fetched: list[str] = []

    def download_file(self, bucket: str, key: str, path: str) -> None:
        self.fetched.append(key)
        Path(path).write_bytes(self.objects[bucket, key])


class Bench:
    """One device, its cloud, and what can be seen of it."""

    def __init__(self, root: Path, caplog: Any, flavour: Flavour | None = None) -> None:
        self.root = root
        self.flavour = flavour or Java()
        self.folders = Folders(root)
        self.cloud, self.iam, self.s3 = FakeCloud(), FakeIam(), FakeS3()
        self.nucleus: Nucleus | None = None
        self._caplog = caplog
        caplog.set_level(logging.INFO)

    @asynccontextmanager
    async def device(self) -> AsyncIterator[Nucleus]:
        """The device runs inside the block. The same root again is a restart."""
        settings = Settings(
            thing=THING,
            folders=self.folders,
            role="role",
            region="eu-west-1",
            flavour=self.flavour,
        )
        nucleus = Nucleus(
            settings,
            cloud=self.cloud,
            iam=self.iam,  # type: ignore[arg-type]  # a fake of the few calls that are made
            s3=self.s3,  # type: ignore[arg-type]
        )
        ended = asyncio.Event()
        task = asyncio.create_task(nucleus.run(ended))
        try:
            self.nucleus = nucleus
            await self.until(lambda: bool(self.cloud.reports), "the device reports itself")
            yield nucleus
        finally:
            ended.set()
            await task

    async def deploy(self, components: Mapping[str, Any], **options: Any) -> dict[str, Any]:
        """Deploy and wait for the end. Returns the effective deployment."""
        made = self.cloud.create_deployment(components, **options)
        await self.until(
            lambda: self.cloud.executions.get(made, {}).get("coreDeviceExecutionStatus") in ENDED,
            f"deployment {made} of {components} ends",
        )
        return self.cloud.executions[made]

    async def until(self, met: Callable[[], bool], why: str) -> None:
        """Wait for something that no event announces."""
        deadline = asyncio.get_running_loop().time() + DEADLINE
        while not met():
            late = asyncio.get_running_loop().time() > deadline
            assert not late, f"not within {DEADLINE:.0f} s: {why}\n{self._caplog.text}"
            await asyncio.sleep(0.02)

    def states(self, component: str) -> list[str]:
        """The component's transitions so far, as `A->B`."""
        return [change for name, change in self.changes() if name == component]

    def changes(self) -> list[tuple[str, str]]:
        """All transitions so far, in order."""
        found = (re.fullmatch(r"(\S+) \S+: (\w+->\w+)", one) for one in self._caplog.messages)
        return [(match[1], match[2]) for match in found if match]

    def output(self, component: str) -> list[str]:
        """What the component has printed, and the ends of its scripts."""
        path = self.folders.log(component)
        lines = path.read_text().splitlines() if path.exists() else []
        said = [_CONTEXT.sub("", line.split(f"{component}: ", 1)[1]) for line in lines]
        return [
            re.sub(r"^stderr(\. |$)", "[stderr] ", re.sub(r"^stdout(\. |$)", "", one))
            for one in said
        ]
