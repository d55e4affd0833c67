"""Dynamic resources, which Pulumi's Python process makes and deletes, with their providers.

All are in this module, because Pulumi's state stores a provider by its module and class. A destroy
imports that path, perhaps years after the `up` that stored it. A moved or renamed provider breaks
the destroy of every existing stack. A test pins each path.

The work is in the packages. A provider only reads its arguments from the state and calls it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pulumi
from pulumi import dynamic

from infra.account import followers
from infra.account.context import Context
from infra.account.target import Target
from infra.errors import RolloutFailed
from infra.publish import already_there
from infra.rollout import gate, restore
from infra.rollout.clock import Clock
from infra.rollout.plain_failure import plain_failure
from infra.settings import Settings
from infra.teardown import residue, uninstall


class Remembered(dynamic.ResourceProvider):
    """Makes nothing, but keeps in the state what the delete needs."""

    serialize_as_secret_always = False
    looked_up: tuple[str, ...] = ("__provider",)
    """Properties that `diff` ignores: how a class is stored, and what a run has looked up."""

    def create(self, props: dict[str, Any]) -> dynamic.CreateResult:
        return dynamic.CreateResult(id_="kept", outs=props)

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> dynamic.DiffResult:
        same = all(olds.get(key) == news[key] for key in news if key not in self.looked_up)
        return dynamic.DiffResult(changes=not same)

    def update(self, _id: str, _olds: dict[str, Any], news: dict[str, Any]) -> dynamic.UpdateResult:
        return dynamic.UpdateResult(outs=news)


class ResidueProvider(Remembered):
    """Its delete prints what the destroyed stack has left.

    It is the first resource of a stack, so its diff refuses a changed account, region or prefix.
    Otherwise the stack's components would stay on the devices and in the account.
    """

    def diff(self, id_: str, olds: dict[str, Any], news: dict[str, Any]) -> dynamic.DiffResult:
        before, after = Context.remembered(olds), Context.remembered(news)
        with plain_failure():
            _check_not_moved(before, after)
            was, is_ = before.component_prefix, after.component_prefix
            if was != is_:
                raise RolloutFailed(
                    f"nothing was changed: component-prefix is {is_}, and this stack's components"
                    f" are called {was}.*.",
                    "A stack keeps its names. Go back to them, or destroy it first:",
                    f"pulumi config set component-prefix {was}",
                    "pulumi destroy",
                )
        return super().diff(id_, olds, news)

    def delete(self, _id: str, props: dict[str, Any]) -> None:
        context = Context.remembered(props)
        stack = residue.Destroyed(context=context, target=props["target"], role=props["role"])
        left = residue.list_residue(stack)
        print(f"left of stack {context.deployment_name}:{'' if left else ' nothing'}")
        for line in "\n".join(left).splitlines():
            print(f"  {line}")


class Residue(dynamic.Resource, module="edge", name="Residue"):
    """The list of what is left of a stack, printed at the end of its destroy.

    Pulumi destroys backwards, so a stack makes it before everything else.
    """

    def __init__(self, context: Context, settings: Settings) -> None:
        name = f"thing/{settings.thing}" if settings.thing else ""
        name = f"thinggroup/{settings.thing_group}" if settings.thing_group else name
        target = context.arn("iot", name) if name else ""
        props = context.props | {"target": target, "role": settings.device_role}
        opts = pulumi.ResourceOptions(
            hooks=already_there.refuse_unknown_stack("unknown-stack", context)
        )
        super().__init__(ResidueProvider(), "residue", props, opts)


def _check_not_moved(before: Context, now: Context) -> None:
    """Raise RolloutFailed if the stack was made in another account, region or partition.

    Pulumi's plugins would try to update the resources in the new place, and find nothing there.
    """
    for what in ("account", "region", "partition"):
        was, is_ = getattr(before, what), getattr(now, what)
        if was != is_:
            raise RolloutFailed(
                f"nothing was changed: stack {before.deployment_name} was made in {what} {was}, and"
                f" its config and credentials say {is_}.",
                f"A stack stays where it is. Go back to {was}, or destroy it there first, or make"
                " another stack:",
                "pulumi stack init NAME",
            )


class NobodyFollowsProvider(Remembered):
    """Its delete fails while others deploy a release of this stack.

    So does its diff after `pulumi stack rename`, because the update would remove what has the older
    name.
    """

    def diff(self, id_: str, olds: dict[str, Any], news: dict[str, Any]) -> dynamic.DiffResult:
        if olds["stack"] != news["stack"]:
            _check_nobody_follows(olds, f"stack {olds['stack']} can't become {news['stack']}")
        return super().diff(id_, olds, news)

    def delete(self, _id: str, props: dict[str, Any]) -> None:
        _check_nobody_follows(props, "nothing was destroyed")


def _check_nobody_follows(props: Mapping[str, Any], what: str) -> None:
    with plain_failure():
        found = followers.followers(Context.remembered(props), props["target"])
        if texts := [one.text for one in found]:
            said = [f"{what}: others deploy what this stack published.", *texts]
            raise RolloutFailed("\n".join(said))


class NobodyFollows(dynamic.Resource, module="edge", name="NobodyFollows"):
    """Refuses a destroy while another deployment needs a release of this stack.

    Pulumi destroys backwards, so a stack makes it after everything else. A refused destroy has then
    changed nothing, not even on this stack's own devices.
    """

    def __init__(
        self, context: Context, target: Target | None, *, opts: pulumi.ResourceOptions
    ) -> None:
        props = context.props | {"target": target.arn if target else ""}
        super().__init__(NobodyFollowsProvider(), "nobody-follows", props, opts)


class KeptVersionsProvider(Remembered):
    """Its delete removes what `retain_on_delete` left, also under the stack's earlier names."""

    def update(self, id_: str, olds: dict[str, Any], news: dict[str, Any]) -> dynamic.UpdateResult:
        """Remember the older name: after `pulumi stack rename` the older versions keep its tags."""
        former = sorted({*olds.get("former", ()), olds["stack"]} - {news["stack"]})
        return super().update(id_, olds, news | {"former": former})

    def delete(self, _id: str, props: dict[str, Any]) -> None:
        context = Context.remembered(props)
        for stack in (context.stack, *props.get("former", ())):
            tags = replace(context, stack=stack).tags
            for component in context.names.components:
                already_there.sweep(context.clients, context.component_arn(component), tags)


class KeptVersions(dynamic.Resource, module="edge", name="KeptVersions"):
    """The component versions that stay after their resources, until the stack is destroyed."""

    def __init__(
        self, name: str, props: dict[str, Any], *, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(KeptVersionsProvider(), name, props, opts)


class CleanDevicesProvider(Remembered):
    """Its delete removes our components from the target's devices."""

    def delete(self, _id: str, props: dict[str, Any]) -> None:
        with plain_failure():
            uninstall.uninstall(
                Context.remembered(props),
                target=props["target"],
                devices=props["devices"],
                components=props["components"].keys(),
                clock=Clock(seconds=props["timeout"]),
            )


class CleanDevices(dynamic.Resource, module="edge", name="CleanDevices"):
    """Its destroy removes our components from a target's devices and deployments.

    Its name has the target, and it isn't replaced with the target. So after a failed move, the way
    back to the old target finds the same resource. A replaced resource would still be destroyed,
    and would clear devices that answer again.
    """

    def __init__(self, props: dict[str, Any], opts: pulumi.ResourceOptions) -> None:
        super().__init__(CleanDevicesProvider(), props["target"], props, opts)


class SbomProvider(Remembered):
    """Its create and update store an image's bill of materials; the same image costs no call."""

    def create(self, props: dict[str, Any]) -> dynamic.CreateResult:
        return super().create(_with_sbom(props))

    def update(self, id_: str, olds: dict[str, Any], news: dict[str, Any]) -> dynamic.UpdateResult:
        return super().update(id_, olds, _with_sbom(news))


class Sbom(dynamic.Resource, module="edge", name="Sbom"):
    """The bill of materials of one image, in the bucket. It goes with its release or bucket."""

    key: pulumi.Output[str]

    def __init__(
        self, name: str, props: dict[str, Any], *, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(SbomProvider(), name, props | {"key": None}, opts)


def _with_sbom(props: dict[str, Any]) -> dict[str, Any]:
    # Importing its library takes 0.3 s, and an update without a new image doesn't need it.
    from infra.provenance import store  # noqa: PLC0415

    key = store.store(
        Context.remembered(props).clients,
        image_name=props["image"],
        architecture=props["architecture"],
        bucket=props["bucket"],
    )
    return props | {"key": key}


class AnsweringProvider(Remembered):
    """Its create and update wait until the devices answer.

    `latest` is the target's latest deployment that this run has found, "" for none.
    """

    looked_up = (*Remembered.looked_up, "latest")

    def diff(self, id_: str, olds: dict[str, Any], news: dict[str, Any]) -> dynamic.DiffResult:
        """Raise RolloutFailed if only Pulumi's state has the deployment."""
        with plain_failure():
            if news["deployment"] == olds.get("deployment") and not news["latest"]:
                raise RolloutFailed(
                    f"deployment {olds['deployment']} of {news['target']} is gone, though Pulumi's"
                    " state has it.",
                    "Somebody has deleted it, and its target has no other. Deploy it again:",
                    "pulumi up --refresh",
                )
        return super().diff(id_, olds, news)

    def create(self, props: dict[str, Any]) -> dynamic.CreateResult:
        with plain_failure():
            _await_release(props, before={})
        return super().create(props)

    def update(self, id_: str, olds: dict[str, Any], news: dict[str, Any]) -> dynamic.UpdateResult:
        here = olds.get("target") == news["target"]
        with plain_failure():
            _await_release(news, before=olds["components"] if here else {})
        return super().update(id_, olds, news)


class Answering(dynamic.Resource, module="edge", name="Answering"):
    """The wait for a target's devices to answer."""

    deployment: pulumi.Output[str]

    def __init__(
        self, name: str, props: dict[str, Any], *, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(AnsweringProvider(), name, props, opts)


def _await_release(props: Mapping[str, Any], *, before: Mapping[str, str]) -> None:
    gate.await_release(
        Context.remembered(props),
        deployment=props["deployment"],
        components=props["components"],
        before=before,
        devices=props["devices"],
        quorum=props["quorum"],
        role=props["role"],
        clock=lambda: Clock(seconds=props["timeout"]),
    )
    restore.reset_rights(Context.remembered(props), props["role"], props["rights"])
