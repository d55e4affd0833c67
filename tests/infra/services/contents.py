"""What the account of the tests holds, as plain values that a test may change."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from infra.account.context import Context
from infra.names import CHECK, CONSUMER, SERVICE

ACCOUNT, REGION = "123456789012", "eu-west-1"
THING_ARN = f"arn:aws:iot:{REGION}:{ACCOUNT}:thing/press-1"
GROUP_ARN = f"arn:aws:iot:{REGION}:{ACCOUNT}:thinggroup/presses"
NAME = "edge-inference/dev"
CONTEXT = Context(
    account=ACCOUNT,
    region=REGION,
    partition="aws",
    profile=None,
    project="edge-inference",
    stack="dev",
)
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)  # The time of a test's first deployment.
WANTED = {SERVICE: "1.2.3", CONSUMER: "1.3.4", CHECK: "1.4.5"}
GOOD = {SERVICE: ("1.2.3", "RUNNING"), CONSUMER: ("1.3.4", "RUNNING"), CHECK: ("1.4.5", "RUNNING")}
OTHER = {"com.other": ("1.0.0", "RUNNING")}
_GREENGRASS = f"arn:aws:greengrass:{REGION}:{ACCOUNT}"
DEVICE_ROLE = "GreengrassV2TokenExchangeRole"
TRUST: dict[str, Any] = {
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "credentials.iot.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    ]
}


class Refused(Exception):
    """An error of the API, by its AWS name."""


@dataclass
class Device:
    """A core device as the API shows it."""

    installed: dict[str, tuple[str, str]] = field(default_factory=dict)
    # Of root components, by name.
    dependencies: dict[str, tuple[str, str]] = field(default_factory=dict)
    # By component: which deployment brought it.
    sources: dict[str, str] = field(default_factory=dict)
    executions: dict[str, dict[str, Any]] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)  # Why a component is in its state.
    since: dict[str, datetime] = field(default_factory=dict)  # When it reached its state.
    status: str = "HEALTHY"
    architecture: str = "amd64"
    runtime: str = "aws_nucleus_classic"
    version: str = "2.18.0"

    def deploys(self, deployment: str, status: str, **details: Any) -> None:
        self.executions[deployment] = {"coreDeviceExecutionStatus": status, **details}


@dataclass
class Contents:
    """The account's contents, and every request that came (`asked`), in order."""

    account: str = ACCOUNT  # Whose credentials are used.
    devices: dict[str, Device] = field(default_factory=dict)
    things: dict[str, str] = field(default_factory=dict)  # From name to ARN.
    groups: dict[str, list[str]] = field(default_factory=dict)
    deployments: list[dict[str, Any]] = field(default_factory=list)  # Oldest first.
    made: int = 0  # The number of deployments, including deleted ones.
    components: dict[str, dict[str, str]] = field(default_factory=dict)  # From ARN to tags.
    repositories: dict[str, dict[str, str]] = field(default_factory=dict)  # From name to tags.
    # From repository and tag to digest.
    images: dict[tuple[str, str], str] = field(default_factory=dict)
    indexes: dict[str, dict[str, Any]] = field(default_factory=dict)  # By digest.
    untagged: set[str] = field(default_factory=set)  # The digests that an index lists.
    buckets: dict[str, dict[str, str]] = field(default_factory=dict)
    # From bucket and key to content.
    objects: dict[str, dict[str, bytes]] = field(default_factory=dict)
    foreign_buckets: set[str] = field(default_factory=set)
    roles: dict[str, dict[str, Any]] = field(default_factory=lambda: {DEVICE_ROLE: TRUST})
    # Inline policies of a role.
    policies: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    # By ARN, if a test has a recipe.
    recipes: dict[str, dict[str, Any]] = field(default_factory=dict)
    # From ARN to cloud status.
    undeployable: dict[str, dict[str, Any]] = field(default_factory=dict)
    # From action to IAM's decision.
    decisions: dict[str, dict[str, Any]] = field(default_factory=dict)
    logs: dict[tuple[str, str], list[str]] = field(default_factory=dict)  # By group and stream.
    # By repository and digest.
    scans: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    reachable: bool = True
    denied: set[str] = field(default_factory=set)  # Operations that the caller has no right to.
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    per_page: int = 1  # A reader of only the first page is found out.
    killed_at: int | None = None  # So many requests are answered before the program is killed.

    def _page(self, key: str, everything: list[Any], token: str) -> dict[str, Any]:
        start = int(token or 0)
        end = start + self.per_page
        more = {"nextToken": str(end)} if end < len(everything) else {}
        return {key: everything[start:end], **more}


def component_arn(name: str, version: str) -> str:
    return f"{_GREENGRASS}:components:{name}:versions:{version}"


def spec(version: str, **details: Any) -> dict[str, Any]:
    """A component of a deployment, in the API's shape."""
    return {"componentVersion": version, **details}


def tag_list(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]
