"""Finds the stacks of this project: their files, and where each deploys."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import boto3
import yaml
from botocore.exceptions import BotoCoreError, ClientError

from infra.account.clients import Clients
from infra.account.context import Context
from infra.account.login import Login
from infra.errors import Told
from infra.name_patterns import stack_trouble
from infra.names import DEFAULT_NAMES, Names
from infra.printable import printable
from infra.settings import Misconfigured

ROOT = Path(__file__).resolve().parent.parent
_T = TypeVar("_T")

# What both YAML readers take for the same number, truth or nothing, and show alike (Pulumi 3.276).
_SURE = re.compile(r"-?(0|[1-9]\d{0,17})|true|True|TRUE|false|False|FALSE|~|null|Null|NULL|")
_TEXT = "tag:yaml.org,2002:str"
# Only Pulumi's takes these for numbers or dates (resolve.go in gopkg.in/yaml.v3, without _).
_NUMBER = re.compile(
    r"[-+]?(0[xX][\da-fA-F]+|0[oO][0-7]+|0[bB][01]+|(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?)"
    r"|\d{4}-\d{1,2}-\d{1,2}([Tt ].*)?"
)


class NoStack(Told):
    """A stack or a region is missing or can't be read. The message says what to do."""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A stack with its file `Pulumi.<name>.yaml`."""

    name: str
    config: Mapping[str, Any]

    @classmethod
    def read(cls, name: str, root: Path = ROOT) -> Stack:
        """Read a stack's file. Raises NoStack for an invalid name, a missing or a broken file."""
        refuse_strange_name(name)
        path = root / f"Pulumi.{name}.yaml"
        if not path.is_file():
            raise NoStack(
                f"there is no stack file {path.name}.",
                f"Stacks here: {', '.join(names(root)) or 'none'}. Write a new one:",
                f"make new-device NAME={name}",
            )
        return cls(name=name, config=_config(path))

    def publisher(self, root: Path = ROOT) -> str:
        """The stack whose release it deploys; empty if it publishes its own."""
        return str(self.config.get(f"{project(root)}:release-from") or "")

    def names(self, root: Path = ROOT) -> Names:
        """Its component names, by its file."""
        prefix = self.config.get(f"{project(root)}:component-prefix")
        return Names(prefix=str(prefix or DEFAULT_NAMES.prefix))

    @property
    def login(self) -> Login:
        """The region and login in its file. Raises NoStack."""
        try:
            return Login.of(self.config, os.environ, self.name)
        except Misconfigured as error:
            raise NoStack(str(error)) from error

    def clients(self) -> Clients:
        """AWS clients with this stack's login. Raises NoStack for an unknown region or profile."""
        login = self.login
        if login.profile and login.profile not in boto3.Session().available_profiles:
            raise NoStack(
                f"stack {self.name} uses the AWS profile {login.profile}, which is unknown here.",
                "",
                f"aws configure --profile {login.profile}",
            )
        return Clients(region=login.region, profile=login.profile, role=login.role)

    def context(self, root: Path = ROOT) -> Context:
        """The Context of the stack's program. Raises NoStack, and botocore's errors."""
        caller = self.clients().sts.get_caller_identity()
        return Context.of(
            self.login,
            caller,
            project=project(root),
            stack=self.name,
            component_prefix=self.names(root).prefix,
        )


@dataclass(frozen=True, kw_only=True)
class Places:
    """The places where the stacks deploy: each region and profile once, with its clients."""

    stack: str | None  # The only stack, or None for all.
    clients: Mapping[Clients, tuple[str, ...]]  # With the stacks that deploy there.
    follows: Mapping[str, str]  # Follower to publisher.
    skipped: tuple[str, ...]  # The reason and the command for each stack that can't be read.

    def ask(self, question: Callable[[Clients], _T]) -> tuple[list[_T], tuple[str, ...]]:
        """The answers of all places, and unreadable stacks. Raises NoStack if no place answers."""
        answers, skipped = [], [*self.skipped]
        for clients, names in self.clients.items():
            try:
                answers.append(question(clients))
            except (ClientError, BotoCoreError) as error:
                of = f"stack{'s' if len(names) > 1 else ''} {', '.join(names)}"
                skipped.append(printable(f"{of} can't be asked in {clients.region}: {error}"))
        if not answers:
            raise NoStack(
                "\n".join(skipped),
                "See whose credentials these are:",
                "aws sts get-caller-identity",
            )
        return answers, tuple(skipped)


def refuse_strange_name(name: str) -> None:
    """Raises NoStack for a stack file whose name no stack can have."""
    if trouble := stack_trouble(name):
        raise NoStack(f"{trouble}\nRename Pulumi.{printable(name)}.yaml, or remove it.")


def names(root: Path = ROOT) -> tuple[str, ...]:
    """The names of the stack files here, also names that no stack can have."""
    files = (path.name for path in root.glob("Pulumi.*.yaml"))
    return tuple(sorted(file.removeprefix("Pulumi.").removesuffix(".yaml") for file in files))


def _config(path: Path) -> Mapping[str, Any]:
    """The values, a number or a truth as the text that Pulumi shows."""
    try:
        text = path.read_text()
        document = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        why = printable(" ".join(str(error).split()))
        raise NoStack(f"{path.name} can't be read.", why) from error
    config = document.get("config") if isinstance(document, dict) else document
    if not isinstance(config or {}, dict):
        raise NoStack(
            f"{path.name} holds no `config:` with keys and values.",
            "Pulumi.dev.yaml shows how it looks:",
            "cat Pulumi.dev.yaml",
        )
    if not config:
        return {}
    _refuse_unsure(path.name, yaml.compose(text))
    return {
        key: json.dumps(value) if isinstance(value, bool | int) else value
        for key, value in config.items()
    }


def _refuse_unsure(name: str, document: Any) -> None:
    """Raise NoStack for a value without quotes that Pulumi reads in another way than PyYAML."""
    [config] = [value for key, value in document.value if key.value == "config"]
    for key, value in config.value:
        for one in scalars(value):
            sure = one.style is not None or _SURE.fullmatch(one.value)
            if sure or not (one.tag != _TEXT or _NUMBER.fullmatch(one.value.replace("_", ""))):
                continue
            quoted = f'"{printable(one.value)}"'
            raise NoStack(
                f"{name}: {printable(key.value)} has {printable(one.value)} without quotes.",
                "Pulumi may read it as another number, or as a text. Write what you mean, as a"
                " plain number or in quotes:",
                f"{printable(key.value)}: {quoted}" if one is value else quoted,
            )


def scalars(value: yaml.Node) -> Iterator[yaml.ScalarNode]:
    """The values in it, without objects' keys. Each comes once, as aliases may repeat it."""
    waiting, known = [value], set()
    for node in waiting:
        if id(node) in known:
            continue
        known.add(id(node))
        match node:
            case yaml.ScalarNode():
                yield node
            case yaml.MappingNode():
                waiting += [inner for _, inner in node.value]
            case _:
                waiting += node.value


def places(stack: str | None = None, root: Path = ROOT) -> Places:
    """The places of one stack, or of all. Raises NoStack if there is none."""
    found: dict[Clients, tuple[str, ...]] = {}
    follows, skipped = {}, []
    for name in (stack,) if stack else names(root):
        try:
            one = Stack.read(name, root)
            clients = one.clients()
        except NoStack as error:
            skipped += str(error).splitlines()
        else:
            found[clients] = (*found.get(clients, ()), name)
            if publisher := one.publisher(root):
                follows[name] = publisher
    if not found:
        if skipped:
            raise NoStack("\n".join(skipped))
        raise NoStack("there is no stack here.", "", "make new-device NAME=press-1")
    by_place = {clients: found[clients] for clients in sorted(found, key=str)}
    return Places(stack=stack, clients=by_place, follows=follows, skipped=tuple(skipped))


def project(root: Path = ROOT) -> str:
    """The project's name. Its deployments' names begin with it."""
    return str(yaml.safe_load((root / "Pulumi.yaml").read_text())["name"])
