"""The stacks of this project: which files there are, and where each one deploys to."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import boto3
import yaml
from botocore.exceptions import BotoCoreError, ClientError

from infra.account.clients import Clients

ROOT = Path(__file__).resolve().parent.parent
_T = TypeVar("_T")


class NoStack(Exception):
    """A stack or a region that isn't there or can't be asked; the message says what to do."""


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
        """AWS as this stack's provider sees it: its region and profile, else the environment's.

        Raises NoStack where there is no such region or profile.
        """
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
        profile = self.config.get("aws:profile")
        if profile and profile not in boto3.Session().available_profiles:
            raise NoStack(
                f"stack {self.name} uses the AWS profile {profile}, which is unknown here:"
                f" aws configure --profile {profile}"
            )
        return Clients(region=region, profile=profile)


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where the stacks deploy to: each region and profile once, with clients that are kept."""

    stack: str | None  # the only one that counts
    clients: Mapping[Clients, tuple[str, ...]]  # with the stacks that deploy there
    skipped: tuple[str, ...]  # for each stack that can't be asked, why and what to type

    def ask(self, question: Callable[[Clients], _T]) -> tuple[list[_T], tuple[str, ...]]:
        """What each place answers, and whom nobody can ask; raises NoStack where no place does."""
        answers, skipped = [], [*self.skipped]
        for clients, names in self.clients.items():
            try:
                answers.append(question(clients))
            except (ClientError, BotoCoreError) as error:
                of = f"stack{'s' if len(names) > 1 else ''} {', '.join(names)}"
                skipped.append(f"{of} can't be asked in {clients.region}: {error}")
        if not answers:
            raise NoStack("\n".join(skipped))
        return answers, tuple(skipped)


def stacks(root: Path = ROOT) -> tuple[Stack, ...]:
    """All of them, by name."""
    names = sorted(path.name.split(".")[1] for path in root.glob("Pulumi.*.yaml"))
    return tuple(Stack.read(name, root) for name in names)


def places(stack: str | None = None, root: Path = ROOT) -> Places:
    """Those of one stack, or of all; raises NoStack where there is none to ask."""
    found: dict[Clients, tuple[str, ...]] = {}
    skipped = []
    for one in (Stack.read(stack, root),) if stack else stacks(root):
        try:
            clients = one.clients()
        except NoStack as error:
            skipped.append(str(error))
        else:
            found[clients] = (*found.get(clients, ()), one.name)
    if not found:
        raise NoStack("\n".join(skipped) or "no stack here: make new-device NAME=press-1")
    by_place = {clients: found[clients] for clients in sorted(found, key=str)}
    return Places(stack=stack, clients=by_place, skipped=tuple(skipped))


def project(root: Path = ROOT) -> str:
    """The project's name, by which its deployments are known."""
    return str(yaml.safe_load((root / "Pulumi.yaml").read_text())["name"])
