"""A model of Pulumi: a state, and the effect of preview, up and destroy with the real program.

Hooks run. Dynamic providers are those that the state has stored. The work of AWS's providers is
done to a World. The order is the program's own. A preview knows what only an update would know.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import pickle
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import pulumi
from pulumi.runtime import rpc, sync_await
from pulumi.runtime.proto import resource_pb2

from tests.infra.pulumi_engine import Engine, Registered
from tests.infra.states.world import World

# The inputs that a provider can't change in place, by the last word of the type
_REPLACED_FOR = {
    "Bucket": ("bucket",),
    "BucketObjectv2": ("bucket", "key"),
    "ComponentVersion": ("inlineRecipe",),
    "Deployment": ("components", "deploymentName", "deploymentPolicies", "targetArn"),
    "Repository": ("name",),
    "RolePolicy": ("name", "role"),
}


class Killed(Exception):
    """The program was killed: the state lacks what was just made."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A resource in the state."""

    urn: str
    type: str
    name: str
    id: str
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    retained: bool
    deleted_with: str

    @property
    def provider(self) -> Any:
        """The provider of a dynamic resource, as the state stores it. None for any other."""
        if not self.type.startswith("pulumi-python:dynamic"):
            return None
        return pickle.loads(base64.b64decode(self.inputs["__provider"]))  # noqa: S301  # our own


@dataclass
class State:
    """What Pulumi keeps of a stack, in the order in which it was made."""

    stack: str = "dev"
    resources: dict[str, Kept] = field(default_factory=dict)  # by URN
    replaced: list[Kept] = field(default_factory=list)  # To be deleted later.

    def copy(self) -> State:
        return copy.deepcopy(self)

    def renamed(self, stack: str) -> State:
        """The state after `pulumi stack rename`."""

        def moved(urn: str) -> str:
            return urn.replace(f"urn:pulumi:{self.stack}::", f"urn:pulumi:{stack}::")

        return State(
            stack=stack,
            resources={
                moved(urn): replace(one, urn=moved(urn), deleted_with=moved(one.deleted_with))
                for urn, one in self.resources.items()
            },
        )

    def without(self, *names: str) -> State:
        """The state after `pulumi state delete` of these resources."""
        return State(
            stack=self.stack,
            resources={
                urn: one for urn, one in self.resources.items() if not one.name.startswith(names)
            },
        )


class Pulumi(Engine):
    """One command on a state, which it changes unless it is a preview."""

    def __init__(
        self, state: State, world: World, *, dry: bool = False, killed_after: str = ""
    ) -> None:
        super().__init__()
        self.state, self.world, self.dry, self.killed_after = state, world, dry, killed_after
        self.steps: list[str] = []  # The names of what is made or changed, in order.
        self._seen: set[str] = set()
        self._hooks: dict[str, Any] = {}
        self._one_at_a_time = threading.RLock()
        self._dead = False

    def run_program(self, program: Callable[[], object], config: Mapping[str, str]) -> None:
        """Run an update or a preview. Raises what the program or a provider raises."""
        with patch.object(pulumi, "ResourceHook", self._remembering(pulumi.ResourceHook)):
            self.run(program, stack=self.state.stack, config=config)
        if self.dry:
            return
        gone = [one for urn, one in self.state.resources.items() if urn not in self._seen]
        for one in [*reversed(gone), *reversed(self.state.replaced)]:
            self._delete(one)
        self.state.replaced.clear()

    def destroy(self) -> None:
        """Destroy what the state has, the last resource first. Raises what a provider raises."""
        leaving = set(self.state.resources)
        for one in [*reversed(self.state.resources.values()), *self.state.replaced]:
            if one.deleted_with in leaving:
                self.state.resources.pop(one.urn)
            else:
                self._delete(one)
        self.state.replaced.clear()

    def _delete(self, one: Kept) -> None:
        if one.retained:
            pass
        elif one.provider:
            one.provider.delete(one.id, one.outputs)
        else:
            self.world.remove(one.type, one.id, one.outputs)
        if self.state.resources.get(one.urn) is one:
            del self.state.resources[one.urn]

    def _remembering(self, hook: Any) -> Any:
        def made(name: str, func: Any, opts: Any = None) -> Any:
            self._hooks[name] = hook(name, func, opts)
            return self._hooks[name]

        return made

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802  # the engine's own name
        if request.type == "pulumi:pulumi:Stack":
            return super().RegisterResource(request)
        with self._one_at_a_time:
            cast(Any, sync_await)._ensure_event_loop()
            if self._dead:
                raise Killed
            urn = self.make_urn(request.parent, request.type, request.name)
            given = cast(Any, rpc).deserialize_properties(request.object)
            inputs = {key: _comparable(value) for key, value in given.items()}
            self._seen.add(urn)
            self.registered.append(_registered(urn, request, inputs))
            step = self._component if not request.custom else self._step
            kept = step(urn, request, inputs)
            if not self.dry:
                self.state.resources.pop(urn, None)
                self.state.resources[urn] = kept
            plain = {key: one for key, one in kept.outputs.items() if not isinstance(one, bytes)}
            told = cast(Any, rpc).serialize_properties(plain, {})
            return resource_pb2.RegisterResourceResponse(
                urn=urn, id=kept.id, object=cast(Any, sync_await)._sync_await(told)
            )

    def _component(self, urn: str, request: Any, _: Mapping[str, Any]) -> Kept:
        return _kept(urn, request, "", {}, {})

    def _step(self, urn: str, request: Any, inputs: dict[str, Any]) -> Kept:
        old = self.state.resources.get(urn)
        if request.type.startswith("pulumi-python:dynamic"):
            return self._dynamic(old, urn, request, inputs)
        kind = request.type.rpartition(":")[2]
        if old and all(
            old.inputs.get(key) == inputs.get(key) for key in _REPLACED_FOR.get(kind, ())
        ):
            changed = old.inputs != inputs
            if changed and kind == "Image" and old.inputs["imageName"] == inputs["imageName"]:
                changed = False  # Only the registry's password differs.
            if changed and kind == "Image":
                self._run(request.hooks.before_update, inputs)
            outputs = old.outputs | inputs
            self.steps += [request.name] if changed else []
            if changed and not self.dry:
                outputs |= self._changed(kind, request.type, old, inputs)
            return replace(old, inputs=inputs, outputs=outputs)
        self._run(request.hooks.before_create, inputs)
        self.steps.append(request.name)
        if self.dry:
            return _kept(urn, request, "made", inputs, inputs | self._expected(kind, inputs))
        id_, computed = self.world.make(request.type, inputs)
        if request.name == self.killed_after:
            self._dead = True
            raise Killed
        if old and not old.retained:
            self.state.replaced.append(old)
        return _kept(urn, request, id_, inputs, inputs | computed)

    def _changed(
        self, kind: str, type_: str, old: Kept, inputs: Mapping[str, Any]
    ) -> dict[str, Any]:
        """What an update in place does."""
        match kind:
            case "Image" | "RolePolicy" | "BucketObjectv2":
                return self.world.make(type_, inputs)[1]
            case "Bucket":
                self.world.buckets[old.id] = dict(inputs["tags"])
            case "Repository":
                self.world.repositories[old.id] = dict(inputs["tags"])
            case "ComponentVersion":
                self.world.components[old.id] = dict(inputs["tags"])
        return {}

    def _expected(self, kind: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The mock's outputs for a resource that isn't made.

        What follows from them stays unknown.
        """
        computed = cast(dict[str, Any], cast(Any, self.mocks)._computed(f":{kind}", inputs))
        unknown = ("componentVersion", "deploymentId")
        return {key: "unknown" if key in unknown else one for key, one in computed.items()}

    def _dynamic(self, old: Kept | None, urn: str, request: Any, inputs: dict[str, Any]) -> Kept:
        new = _kept(urn, request, "kept", inputs, inputs)
        if old is None:
            self._run(request.hooks.before_create, inputs)
            self.steps.append(request.name)
            unknown = {"key": "unknown"} if request.type.endswith(":Sbom") else {}
            outs = inputs | unknown if self.dry else new.provider.create(dict(inputs)).outs
            return replace(new, outputs=outs)
        if not new.provider.diff(old.id, old.outputs, inputs).changes:
            return replace(new, outputs=old.outputs)
        self.steps.append(request.name)
        if self.dry:
            return replace(new, outputs=old.outputs)
        return replace(new, outputs=new.provider.update(old.id, old.outputs, dict(inputs)).outs)

    def _run(self, hooks: Any, inputs: Mapping[str, Any]) -> None:
        for hook in (self._hooks[name] for name in hooks):
            if self.dry and not (hook.opts and hook.opts.on_dry_run):
                continue
            loop = asyncio.new_event_loop()
            loop.run_until_complete(hook.callback(SimpleNamespace(new_inputs=inputs)))
            loop.close()


def _comparable(value: Any) -> Any:
    """An asset by its content: two assets of the same content are no change."""
    match value:
        case pulumi.FileAsset():
            return Path(value.path).read_bytes()
        case pulumi.StringAsset():
            return value.text
        case _:
            return value


def _registered(urn: str, request: Any, inputs: dict[str, Any]) -> Registered:
    return Registered(
        urn=urn,
        type=request.type,
        name=request.name,
        inputs=inputs,
        depends_on=frozenset(request.dependencies),
        parent=request.parent,
        retained=request.retainOnDelete,
        deletes_first=request.deleteBeforeReplace,
        deleted_with=request.deletedWith,
        provider=request.provider,
        before_create=tuple(request.hooks.before_create),
        before_update=tuple(request.hooks.before_update),
    )


def _kept(
    urn: str, request: Any, id_: str, inputs: dict[str, Any], outputs: dict[str, Any]
) -> Kept:
    return Kept(
        urn=urn,
        type=request.type,
        name=request.name,
        id=id_,
        inputs=inputs,
        outputs=outputs,
        retained=request.retainOnDelete,
        deleted_with=request.deletedWith,
    )
