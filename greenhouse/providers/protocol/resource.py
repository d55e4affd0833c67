"""What every resource has in common: checked inputs, a diff, and five verbs."""

# ruff: noqa: ARG002  # one shape of verbs for all resources; not all need every argument

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, ClassVar

from greenhouse.providers.protocol import schema
from greenhouse.providers.protocol.session import Call
from greenhouse.providers.protocol.wire import UNKNOWN, Properties, has_unknown, same


class Refused(Exception):
    """The operation can't be done, and nothing was changed. The message is for the operator."""


class Incomplete(Exception):
    """The resource was made, but not completely: the engine keeps it and tries again next time."""

    def __init__(self, id_: str, attributes: Properties, reason: str) -> None:
        super().__init__(reason)
        self.id, self.attributes = id_, attributes


@dataclass(frozen=True)
class Failure:
    """A wrong input. The engine shows it before anything is done."""

    path: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Naming:
    """Makes a name that the program leaves out."""

    name: str
    seed: bytes
    proposed: str = ""
    disabled: bool = False

    def propose(self, *, longest: int, random: bool = True, lower: bool = False) -> str:
        """The resource's name, by default with seven random digits, as in the real providers."""
        if self.proposed:
            return self.proposed
        name = self.name.lower() if lower else self.name
        if not random:
            return name[:longest]
        digits = hashlib.sha256(self.seed + self.name.encode()).hexdigest()[:7]
        return f"{name[: longest - 8]}-{digits}"


@dataclass(frozen=True, kw_only=True)
class Diff:
    """Which inputs changed, and which of them need a new resource.

    With `opaque` the engine finds the replacements and deletes before it replaces. aws-native's
    provider does this for every change.
    """

    changed: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    opaque: bool = False


class Resource(ABC):
    """One resource type.

    Values are plain Python: the caller removes secrets before and restores them after.
    """

    kind: ClassVar[str]
    """Pulumi's type token."""
    args: ClassVar[type]
    """The SDK's class of its inputs."""
    acted_on: ClassVar[frozenset[str]]
    """The inputs that greenhouse acts on. The SDK's others are refused."""
    defaults: ClassVar[Mapping[str, Any]] = {}
    replaced_by: ClassVar[frozenset[str]] = frozenset()
    """The inputs that can't be changed in place."""
    computed: ClassVar[frozenset[str]] = frozenset()
    """The outputs that a preview can't know."""
    renewed: ClassVar[frozenset[str]] = frozenset()
    """Those of them that an update changes."""
    documents: ClassVar[Mapping[str, type]] = {}
    """Inputs that are JSON texts, with the SDK's class of their content."""

    def check(
        self, call: Call, news: Properties, olds: Properties, naming: Naming
    ) -> tuple[Properties, list[Failure]]:
        """The inputs with defaults and names filled in, and what is wrong with them."""
        failures = [Failure(path, reason) for path, reason in schema.problems(self.args, news)]
        failures += self.refused(news.keys() & schema.properties(self.args).keys(), self.acted_on)
        inputs = {**self.defaults, **news}
        for name, kind in self.documents.items():
            if name in inputs and not has_unknown(inputs[name]):
                inputs[name], found = document(kind, inputs[name], name)
                failures += found
        return inputs, failures

    def refused(
        self, given: Iterable[str], acted_on: AbstractSet[str], where: str = ""
    ) -> list[Failure]:
        """Refuse an input of the SDK that greenhouse doesn't act on: its effect would be missed."""
        return [
            Failure(where + name, f"is not acted on by greenhouse. {self.instead(name)}")
            for name in sorted(set(given) - acted_on)
        ]

    def name_itself(
        self,
        prop: str,
        inputs: Properties,
        olds: Properties,
        naming: Naming,
        **how: Any,
    ) -> list[Failure]:
        """Fill in a name that the program leaves out: the old name, else a new one."""
        if prop in inputs:
            return []
        if naming.disabled:
            return [Failure(prop, "is required, since pulumi:autonaming is disabled")]
        inputs[prop] = olds.get(prop) or naming.propose(**how)
        return []

    def instead(self, name: str) -> str:
        """What to do without an input that greenhouse doesn't act on."""
        return "Leave it out on this stack"

    def diff(self, olds: Properties, news: Properties) -> Diff:
        """What changed between two sets of checked inputs."""
        changed = tuple(sorted(self.changes(olds, news)))
        return Diff(
            changed=changed, replaces=tuple(name for name in changed if name in self.replaced_by)
        )

    def changes(self, olds: Properties, news: Properties) -> Iterator[str]:
        for name in olds.keys() | news.keys():
            if not self.equal(name, olds.get(name), news.get(name)):
                yield name

    def equal(self, name: str, old: Any, new: Any) -> bool:
        if name in self.documents and isinstance(old, str) and isinstance(new, str):
            return bool(json.loads(old) == json.loads(new))
        return same(old, new)

    def preview(self, call: Call, news: Properties, olds: Properties | None) -> Properties:
        """The outputs as far as they are known before the update.

        `olds` is None for a new resource.
        """
        if olds is None:
            return {**dict.fromkeys(self.computed, UNKNOWN), **news}
        return {**olds, **dict.fromkeys(self.renewed, UNKNOWN), **news}

    @abstractmethod
    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        """Create it, and return its id and what only the account knows."""

    @abstractmethod
    def read(self, call: Call, id_: str, olds: Properties) -> Properties | None:
        """Its properties now. None if it is gone."""

    @abstractmethod
    def update(self, call: Call, id_: str, olds: Properties, news: Properties) -> Properties:
        """Change it in place, and return what only the account knows."""

    @abstractmethod
    def delete(self, call: Call, id_: str, olds: Properties) -> None:
        """Remove it. A resource that is gone already is fine."""


def document(kind: type, value: Any, name: str) -> tuple[Any, list[Failure]]:
    """A JSON document, given as a text or an object, as a text. Also what is wrong with it."""
    content = value
    if isinstance(value, str):
        try:
            content = json.loads(value)
        except ValueError as error:
            return value, [Failure(name, f"is not JSON: {error}")]
    if not isinstance(content, dict):
        return value, [Failure(name, "must be a JSON object")]
    found = [Failure(path, reason) for path, reason in schema.problems(kind, content, f"{name}.")]
    if isinstance(value, str):
        return value, found
    return json.dumps(content, separators=(",", ":"), sort_keys=True), found


class Function(ABC):
    """A function of a package. It reads, and makes nothing."""

    kind: ClassVar[str]
    """Pulumi's type token."""
    arguments: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def call(self, call: Call, arguments: Properties) -> Properties: ...
