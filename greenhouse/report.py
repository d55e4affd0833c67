"""What a person wants to know after `make up`, and the proof after `make down`.

Everything is asked of the device and the account, as an operator would; only the wanted answers
come from the stack's outputs.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from rich.console import Console
from rich.table import Table

from greenhouse import account
from greenhouse.home import DEVICE_ROLE, Home, Ports, aws_environment

_JSON = json.JSONDecoder()
_PATIENCE_SECONDS = 30.0
_SHOWN_FEATURES = ("color_red", "alcohol", "pH", "residual sugar", "volatile acidity")


@dataclass(frozen=True)
class Residue:
    """What is left on one machine after a destroy, by kind; empty lists are the proof."""

    found: Mapping[str, Sequence[str]]

    def __bool__(self) -> bool:
        return any(self.found.values())


def component_events(log: Path, event: str) -> Iterator[dict[str, Any]]:
    """The JSON lines of a component's log that report `event`, oldest first."""
    if not log.exists():
        return
    for line in log.read_text(errors="replace").splitlines():
        start = line.find("{")
        if start < 0:
            continue
        try:
            record, _ = _JSON.raw_decode(line, start)  # the nucleus writes on behind it
        except ValueError:
            continue
        if isinstance(record, dict) and record.get("event") == event:
            yield record


def _await_answer(log: Path, model: str) -> dict[str, Any] | None:
    """The latest answer of this model in a consumer's log; the consumer asks at its interval."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        answers = [one for one in component_events(log, "answer") if one.get("model") == model]
        if answers or time.monotonic() > deadline:
            return answers[-1] if answers else None
        time.sleep(0.1)


def _image_size(image: str) -> str:
    found = subprocess.run(
        ["docker", "image", "inspect", "--format", "{{.Size}}", image],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"{int(found.stdout) / 1e6:.1f} MB" if found.returncode == 0 else "not on this engine"


def show_release(console: Console, home: Home, *, outputs: Mapping[str, Any]) -> bool:
    """Device, release, components and answers; True when the answers are XGBoost's, bit for bit."""
    ports = home.ports()
    client = account.greengrass(ports)
    wanted, samples = (_stored(ports, outputs[name]) for name in ("golden", "samples"))
    agreed = True
    for device in outputs["devices"]:
        facts = Table(title=f"device {device}", title_justify="left", show_header=False, box=None)
        facts.add_row("release", str(outputs["release"]))
        facts.add_row("model", str(wanted["model"]))
        for architecture, image in outputs["image"].items():
            facts.add_row(f"image {architecture}", f"{image}  {_image_size(image)}")
        for component in _installed(client, device):
            name = component["componentName"]
            if not name.startswith("aws."):
                mine = "" if name in outputs["components"] else "  (there before us, kept)"
                facts.add_row(
                    name,
                    f"{component['componentVersion']}  {component['lifecycleState']}{mine}",
                )
        console.print(facts)
        consumer_log = home.device(device) / "logs" / "com.ml.consumer.log"
        answer = _await_answer(consumer_log, wanted["model"])
        if answer is None:
            console.print(
                f"  no answer of this release in {consumer_log} within {_PATIENCE_SECONDS:.0f} s",
                soft_wrap=True,
            )
            agreed = False
        else:
            agreed &= _show_answers(console, answer, wanted["predictions"], samples)
    return agreed


def _show_answers(
    console: Console,
    answer: Mapping[str, Any],
    wanted: Sequence[float],
    samples: Sequence[Mapping[str, Any]],
) -> bool:
    table = Table(title=f"asked over IPC, answered in {answer['ms']} ms", title_justify="left")
    for feature in _SHOWN_FEATURES:
        table.add_column(feature, justify="right")
    table.add_column("device says", justify="right")
    table.add_column("XGBoost says", justify="right")
    table.add_column("")
    got = answer["predictions"]
    for record, one, other in zip(samples, got, wanted, strict=True):
        cells = [str(record.get(feature, "")) for feature in _SHOWN_FEATURES]
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
    """How the component that was there before us is doing."""
    for component in _installed(account.greengrass(ports), device):
        if component["componentName"] == account.TENANT:
            return str(component["lifecycleState"])
    return "gone"


def residue(home: Home) -> Residue:
    """Everything in this account, and of its devices on the engine, that isn't the tenant's."""
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
            "containers": _containers(home.things()),
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


def _containers(things: list[str]) -> list[str]:
    """Containers end in their device's name; another greenhouse's devices have other names."""
    names = _docker("ps", "-a", "--format", "{{.Names}}")
    return [name for name in names if name.endswith(tuple(f".{thing}" for thing in things))]


def _docker(*arguments: str) -> list[str]:
    return subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, check=True
    ).stdout.split()


def show_residue(console: Console, left: Residue) -> None:
    table = Table(title="what is left", title_justify="left", show_header=False, box=None)
    for kind, names in left.found.items():
        table.add_row(kind, ", ".join(names) or "none")
    console.print(table)
