"""What the preflight of a stack finds."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from infra import policies
from infra.account.target import Target
from infra.names import COMPONENTS
from infra.preflight import preflight
from infra.preflight.release_needs import Wanted
from recipes.findings import Finding, Severity
from tests.infra.fakes import (
    CONTEXT,
    DEVICE_ROLE,
    Account,
    Device,
)
from tests.infra.pulumi_engine import DIGEST, Engine
from tests.infra.pulumi_yaml import config_of, load

UPSTREAM: dict[str, Any] = {
    "release": "cafe0123",
    "image": {"aarch64": f"somewhere@{DIGEST}"},
    "objects": ["arn:aws:s3:::theirs/1/model.json"],
    "repository_arn": "arn:aws:ecr:eu-west-1:123456789012:repository/theirs",
    "components": dict.fromkeys(COMPONENTS, "1.2.3"),
}

LITE = "aws_nucleus_lite"


def findings(*, stack: str = "dev", upstream: Any = None, **values: object) -> list[Finding]:
    """What the preflight of a stack finds, without infos, which no `up` shows."""
    config = config_of(None, **{"thing": "press-1", **values})
    settings = load(config, stack)
    context = replace(CONTEXT, stack=stack)
    target = Target.find(settings, context)
    found: list[Finding] = []
    Engine(upstream=upstream).run(
        lambda: found.extend(preflight.findings(settings, context, target)), stack=stack
    )
    return [one for one in found if one.rule.severity is not Severity.INFO]


def the_one(found: list[Finding]) -> Finding:
    assert len(found) == 1, [one.line for one in found]
    return found[0]


def of_a_group(account: Account, *devices: Device) -> dict[str, str]:
    """A group of these devices, without press-1."""
    names = [f"press-{number}" for number in range(2, 2 + len(devices))]
    account.devices |= dict(zip(names, devices, strict=True))
    account.groups = {"presses": names}
    return {"thing": "", "thing_group": "presses"}


def fill(account: Account, *stacks: str) -> int:
    """Give the role each stack's policy, as this program does. Returns the size of one policy."""
    for stack in stacks:
        settings = load(config_of(None, thing="press-1"), stack)
        context = replace(CONTEXT, stack=stack)
        wanted = Wanted.of(settings, context)
        account.policies[DEVICE_ROLE, context.policy] = policies.read_release(
            objects=wanted.objects, repository=wanted.repository
        )
    return len(json.dumps(account.policies[DEVICE_ROLE, context.policy], separators=(",", ":")))
