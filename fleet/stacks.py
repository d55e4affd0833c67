"""The stacks of this project: which files there are, and where each one deploys to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from infra.clients import Clients

ROOT = Path(__file__).resolve().parent.parent


class NoStack(Exception):
    """A stack or a region that isn't there; the message says what to type."""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A `Pulumi.<name>.yaml`."""

    name: str
    config: Mapping[str, Any]

    @classmethod
    def read(cls, name: str, root: Path = ROOT) -> Stack:
        """Raises NoStack, with the names that there are."""
        path = root / f"Pulumi.{name}.yaml"
        if not path.is_file():
            there = ", ".join(stack.name for stack in stacks(root)) or "none"
            raise NoStack(
                f"there is no stack file {path.name}; stacks here: {there}."
                f" A new one: make new-device NAME={name}"
            )
        document = yaml.safe_load(path.read_text()) or {}
        return cls(name=name, config=document.get("config") or {})

    def clients(self) -> Clients:
        """AWS as this stack's provider sees it: its region and profile, else the environment's."""
        region = (
            self.config.get("aws:region")
            or os.environ.get("AWS_REGION")
            or os.environ.get("AWS_DEFAULT_REGION")
        )
        if not region:
            raise NoStack(
                f"stack {self.name} names no region:"
                f" pulumi config set --stack {self.name} aws:region REGION"
            )
        return Clients(region=region, profile=self.config.get("aws:profile"))


def stacks(root: Path = ROOT) -> tuple[Stack, ...]:
    """All of them, by name."""
    names = sorted(path.name.split(".")[1] for path in root.glob("Pulumi.*.yaml"))
    return tuple(Stack.read(name, root) for name in names)


def everywhere(root: Path = ROOT) -> tuple[Clients, ...]:
    """Each region and profile that the stacks deploy to, once."""
    places = {(one.region, one.profile): one for one in (stack.clients() for stack in stacks(root))}
    return tuple(places[place] for place in sorted(places, key=str))


def project(root: Path = ROOT) -> str:
    """The project's name, by which its deployments are known."""
    return str(yaml.safe_load((root / "Pulumi.yaml").read_text())["name"])
