"""The first and the last word of a destroy: whether it may begin, and what it has left.

Pulumi destroys backwards. So `Residue` is made before everything else, and `NobodyFollows` after
everything else: a destroy that is refused has touched nothing, not even this stack's own devices.
Both are dynamic resources, whose delete runs under a bare `pulumi destroy`; `Ends` puts all other
resources between them.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pulumi
from pulumi import dynamic

from infra.account import followers
from infra.account.clients import clients_of
from infra.account.target import Target
from infra.rollout.clock import RolloutFailed, plain_failure
from infra.settings import Place, Settings
from infra.teardown import residue


class Remembered(dynamic.ResourceProvider):
    """Nothing to make: what the delete needs to know is kept in the state."""

    serialize_as_secret_always = False

    def create(self, props: dict[str, Any]) -> dynamic.CreateResult:
        return dynamic.CreateResult(id_="kept", outs=props)

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> dynamic.DiffResult:
        # without __provider: how a class is stored says nothing about what it stands for
        same = all(olds.get(key) == news[key] for key in news if key != "__provider")
        return dynamic.DiffResult(changes=not same)

    def update(self, _id: str, _olds: dict[str, Any], news: dict[str, Any]) -> dynamic.UpdateResult:
        return dynamic.UpdateResult(outs=news)


class _NobodyFollowsProvider(Remembered):
    def delete(self, _id: str, props: dict[str, Any]) -> None:
        with plain_failure():
            found = followers.followers(
                clients_of(props),
                name=props["name"],
                tags=props["tags"],
                target=props["target"],
                arns=props["arns"],
            )
            if lines := [one.line for one in found]:
                raise RolloutFailed(
                    "\n".join(
                        ["nothing was destroyed: others deploy what this stack published:", *lines]
                    )
                )


class _ResidueProvider(Remembered):
    def delete(self, _id: str, props: dict[str, Any]) -> None:
        stack = residue.Stack(**{field.name: props[field.name] for field in fields(residue.Stack)})
        left = residue.residue(clients_of(props), stack)
        print(f"left of stack {props['name']}:{'' if left else ' nothing'}")
        for line in left:
            print(f"  {line}")


class Residue(dynamic.Resource, module="edge", name="Residue"):
    """What is left once everything that was made after this resource has been destroyed."""

    def __init__(self, props: dict[str, Any]) -> None:
        super().__init__(_ResidueProvider(), "residue", props)


class NobodyFollows(dynamic.Resource, module="edge", name="NobodyFollows"):
    """No other deployment needs what this stack has published, or a destroy is refused."""

    def __init__(self, props: dict[str, Any], opts: pulumi.ResourceOptions) -> None:
        super().__init__(_NobodyFollowsProvider(), "nobody-follows", props, opts)


class Ends:
    """The two ends of a stack: whatever it makes from now on, it makes between them."""

    def __init__(self, settings: Settings, place: Place, target: Target | None) -> None:
        self._settings, self._place = settings, place
        self._stack = {
            "region": place.region,
            "profile": place.profile,
            "arns": f"arn:{place.partition}:greengrass:{place.region}:{place.account}",
            "name": f"{settings.project}/{settings.stack}",
            "tags": settings.tags,
            "target": target.arn if target else "",
        }
        self._between: list[pulumi.Resource] = []
        self._residue: Residue | None = None
        pulumi.runtime.register_stack_transformation(self._put_between)

    def close(self) -> None:
        """Nothing is made after this. A stack that has published nothing can't be followed."""
        if not self._settings.release_from:
            NobodyFollows(self._stack, pulumi.ResourceOptions(depends_on=list(self._between)))

    def _put_between(
        self, args: pulumi.ResourceTransformationArgs
    ) -> pulumi.ResourceTransformationResult | None:
        made = isinstance(args.resource, pulumi.CustomResource)
        if not made or isinstance(args.resource, Residue | pulumi.StackReference):
            return None
        if self._residue is None:  # now, and no earlier: an `up` may be refused until here
            self._residue = Residue(
                {
                    **self._stack,
                    "role": self._settings.device_role,
                    "policy": self._settings.policy,
                    "bucket": self._settings.bucket(self._place),
                    "account": self._place.account,
                    "repository": self._settings.repository,
                }
            )
        self._between.append(args.resource)
        after = pulumi.ResourceOptions(depends_on=[self._residue])
        return pulumi.ResourceTransformationResult(
            args.props, pulumi.ResourceOptions.merge(args.opts, after)
        )
