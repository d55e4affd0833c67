"""Keeps a device's state over restarts: what it runs, for whom, and which deployments are done.

The file is written whole and atomically. So a killed device finds either the state before a
deployment or the state after it. A deployment in progress isn't in the file: it is done again from
the start.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from greenhouse.files import write_whole


@dataclass(frozen=True)
class Installed:
    """One component on the device."""

    version: str
    configuration: Mapping[str, Any]
    source: str  # The deployment that brought this version.
    previous: str | None = None  # The version before, kept on disk for a rollback.
    # The values that deployments laid over the defaults.
    asked: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """What a thing's or a group's latest deployment asks for."""

    deployment: str
    roots: Mapping[str, str]


@dataclass(frozen=True)
class Outcome:
    """A deployment's progress or outcome, for the cloud."""

    deployment: str
    status: str
    reason: str | None = None
    stack: tuple[str, ...] = ()
    types: tuple[str, ...] = ()


@dataclass(frozen=True)
class DeviceState:
    """Everything that is kept."""

    components: Mapping[str, Installed] = field(default_factory=dict)
    targets: Mapping[str, Target] = field(default_factory=dict)
    handled: Mapping[str, str] = field(default_factory=dict)  # Each target to its last deployment.
    outcomes: tuple[Outcome, ...] = ()  # Not reported.

    @property
    def roots(self) -> set[str]:
        return {name for target in self.targets.values() for name in target.roots}


def load(path: Path) -> DeviceState:
    """The state in the file, or a new device's state."""
    if not path.exists():
        return DeviceState()
    known = json.loads(path.read_text())
    return DeviceState(
        components={name: Installed(**one) for name, one in known["components"].items()},
        targets={arn: Target(**one) for arn, one in known["targets"].items()},
        handled=known["handled"],
        outcomes=tuple(
            Outcome(**{**one, "stack": tuple(one["stack"]), "types": tuple(one["types"])})
            for one in known["outcomes"]
        ),
    )


def save(path: Path, state: DeviceState) -> None:
    """Replace the file in one step."""
    write_whole(path, json.dumps(asdict(state), indent=1))
