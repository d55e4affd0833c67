"""The report after `make up`, and the proof after `make down` that nothing is left.

It asks the device and the account for everything, as an operator would. Only the expected answers
come from the stack's outputs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import boto3
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fleet.logs import logged
from greenhouse import account, docker_engine
from greenhouse.environment import aws_environment
from greenhouse.home import DEVICE_ROLE, Home, Ports
from infra.names import Names
from infra.printable import printable

RUNNING = "RUNNING"
_UP = (RUNNING, "FINISHED")
_Seen = TypeVar("_Seen")
_PATIENCE_SECONDS = 30.0
_SHOWN_FEATURES = 5  # A terminal has 80 columns.


@dataclass(frozen=True)
class Residue:
    """What is left on the machine after a destroy, by kind. Empty lists are the proof."""

    found: Mapping[str, list[str]]

    def __bool__(self) -> bool:
        return any(self.found.values())


def component_events(log: Path, event: str) -> Iterator[dict[str, Any]]:
    """The JSON lines in a component's log that report `event`, oldest first."""
    if not log.exists():
        return
    for line in log.read_text(errors="replace").splitlines():
        record = logged(line)
        if record.get("event") == event:
            yield record


def _awaited(look: Callable[[], _Seen], *, until: Callable[[_Seen], bool]) -> _Seen:
    """What `look` finds: returned when it is as it should be, or at the deadline."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not until(seen := look()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return seen


def answers_to(log: Path, wanted: Mapping[str, Any], *, since: datetime) -> list[Mapping[str, Any]]:
    """The answers of this model to these samples in a consumer's log, given since that time."""
    return [
        one
        for one in component_events(log, "answer")
        if one["model"] == wanted["model"]
        and len(one["predictions"]) == len(wanted["predictions"])
        and datetime.fromisoformat(one["time"]) >= since
    ]


def amiss(installed: Sequence[Mapping[str, Any]], wanted: Mapping[str, str]) -> list[str]:
    """Each component that doesn't run the wanted version, with what runs instead."""
    found = {
        one["componentName"]: (one["componentVersion"], one["lifecycleState"]) for one in installed
    }
    return [
        f"{name} {version} should be up, but the device has {' '.join(there) or 'none'}"
        for name, version in wanted.items()
        if (there := found.get(name, ())) not in [(version, state) for state in _UP]
    ]


def show_release(
    console: Console, home: Home, *, outputs: Mapping[str, Any], since: datetime
) -> bool:
    """Show devices, release, components and answers.

    True if every component is up, and has since then answered bit for bit what XGBoost answers.
    """
    golden, samples = (_stored(home.ports(), outputs[name]) for name in ("golden", "samples"))
    agreed = [
        _show_device(console, home, device, outputs, golden, samples, since=since)
        for device in outputs["devices"]
    ]
    return all(agreed)


def _show_device(
    console: Console,
    home: Home,
    device: str,
    outputs: Mapping[str, Any],
    golden: Mapping[str, Any],
    samples: Sequence[Mapping[str, Any]],
    *,
    since: datetime,
) -> bool:
    facts = Table(title=f"device {device}", title_justify="left", show_header=False, box=None)
    facts.add_row("release", str(outputs["release"]))
    facts.add_row("model", str(golden["model"]))
    for architecture, image in outputs["image"].items():
        facts.add_row(f"image {architecture}", f"{image}  {docker_engine.size(image)}")
    client, wanted = account.greengrass(home.ports()), outputs["components"]
    installed = _awaited(
        lambda: _installed(client, device), until=lambda seen: not amiss(seen, wanted)
    )
    for component in installed:
        name = component["componentName"]
        if not name.startswith("aws."):
            mine = "" if name in wanted else "  (there before us, kept)"
            state = f"{component['componentVersion']}  {component['lifecycleState']}{mine}"
            facts.add_row(Text(printable(name)), Text(printable(state)))
    console.print(facts)
    log = home.device(device) / "logs" / f"{Names.of(wanted).consumer}.log"
    answers = _awaited(lambda: answers_to(log, golden, since=since), until=bool)
    findings = amiss(installed, wanted)
    if not answers:
        findings.append(f"no answer of this release in {log} within {_PATIENCE_SECONDS:.0f} s")
    for finding in findings:
        console.print(Text(printable(f"  {finding}")), soft_wrap=True)
    right = bool(answers) and _show_answers(console, answers[-1], golden["predictions"], samples)
    return right and not findings


def _show_answers(
    console: Console,
    answer: Mapping[str, Any],
    wanted: Sequence[Any],
    samples: Sequence[Mapping[str, Any]],
) -> bool:
    features = [*dict.fromkeys(name for record in samples for name in record)]
    shown = features[:_SHOWN_FEATURES]
    title = f"asked over IPC, answered in {answer['ms']} ms"
    if len(features) > len(shown):
        title += f"; {len(shown)} of {len(features)} features are shown"
    table = Table(title=title, title_justify="left")
    for feature in shown:
        table.add_column(Text(printable(feature)), justify="right")
    table.add_column("device says", justify="right")
    table.add_column("XGBoost says", justify="right")
    table.add_column("")
    got = answer["predictions"]
    for record, one, other in zip(samples, got, wanted, strict=True):
        cells = [Text(printable(str(record.get(feature, "")))) for feature in shown]
        table.add_row(*cells, repr(one), repr(other), "equal" if one == other else "DIFFERENT")
    console.print(table)
    return list(got) == list(wanted)


def _stored(ports: Ports, uri: str) -> Any:
    """The JSON document at an s3:// URI."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    s3 = account.session(ports).client(
        "s3", endpoint_url=aws_environment(ports)["AWS_ENDPOINT_URL"]
    )
    return json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())


def _installed(client: Any, device: str) -> list[dict[str, Any]]:
    pages = client.get_paginator("list_installed_components").paginate(
        coreDeviceThingName=device, topologyFilter="ALL"
    )
    return sorted(
        (component for page in pages for component in page["installedComponents"]),
        key=lambda component: str(component["componentName"]),
    )


def tenant_state(ports: Ports, device: str) -> str:
    """The state of the component that was there before us. A starting component is waited for."""
    client = account.greengrass(ports)

    def look() -> str:
        for component in _installed(client, device):
            if component["componentName"] == account.TENANT:
                return str(component["lifecycleState"])
        return "gone"

    return _awaited(look, until=lambda state: state == RUNNING)


def residue(home: Home) -> Residue:
    """Everything left in this account, and on the engine of this account and its devices."""
    ports = home.ports()
    endpoint = aws_environment(ports)["AWS_ENDPOINT_URL"]
    session: boto3.Session = account.session(ports)
    s3 = session.client("s3", endpoint_url=endpoint)
    ecr = session.client("ecr", endpoint_url=endpoint)
    iam = session.client("iam", endpoint_url=endpoint)
    greengrass = account.greengrass(ports)
    components = greengrass.list_components(scope="PRIVATE")["components"]
    deployments = greengrass.list_deployments(historyFilter="ALL")["deployments"]
    return Residue(
        {
            "containers": docker_engine.containers(home.things()),
            "images": docker_engine.images(ports),
            "buckets": [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]],
            "repositories": [
                repository["repositoryName"]
                for repository in ecr.describe_repositories()["repositories"]
            ],
            "role policies": iam.list_role_policies(RoleName=DEVICE_ROLE)["PolicyNames"],
            "components": [component["componentName"] for component in components],
            "deployments": [
                deployment.get("deploymentName") or deployment["deploymentId"]
                for deployment in deployments
            ],
        }
    )


def show_residue(console: Console, left: Residue) -> None:
    # A deployment that keeps only the tenant on a device is the owner's, whoever made it.
    console.print(f"what is left besides {account.TENANT}", style="italic")
    table = Table(show_header=False, box=None)
    for kind, names in left.found.items():
        table.add_row(kind, Text(printable(", ".join(names) or "none")))  # A name is not markup.
    console.print(table)
