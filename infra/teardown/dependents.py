"""Refuses a destroy while components of others depend on ours.

A device keeps the dependencies of a root component, whatever its deployment lists. Our component
would keep running there, without its versions, image and rights in the account.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any

from infra.account.clients import unless_gone
from infra.account.context import Context
from infra.account.greengrass import installed
from infra.account.many_devices import each_device
from infra.errors import RolloutFailed


def check_dependents(
    context: Context,
    target: str,
    *,
    devices: Sequence[str],
    others: Mapping[str, Any],
    ours: AbstractSet[str],
) -> None:
    """Raise RolloutFailed if a component of others depends on ours. It names both.

    `others` are the components of others in the target's latest deployment, as the API returns
    them. Components on the devices count as well, because another target may have deployed them.
    """
    found = {(name, spec["componentVersion"]) for name, spec in others.items()}
    for there in each_device(devices, partial(installed, context.clients.greengrass)):
        found |= {(name, version) for name, (version, _) in there.items() if name not in ours}
    needing = [
        f"{name} {version} depends on {', '.join(needed)}"
        for name, version in sorted(found)
        if (needed := sorted(ours & set(_dependencies(context, name, version))))
    ]
    if needing:
        raise RolloutFailed(
            "\n".join(["nothing was uninstalled: components of others depend on ours.", *needing]),
            "They would keep ours running on the devices. Deploy to the target without them, then"
            " destroy again:",
            f"aws greengrassv2 create-deployment --region {context.region} --target-arn {target}"
            " --components COMPONENTS",
            "pulumi destroy",
        )


def _dependencies(context: Context, component: str, version: str) -> Iterator[str]:
    """The dependencies in the component's recipe. AWS's own components don't depend on ours."""
    if component.startswith("aws."):
        return
    with unless_gone():
        arn = context.component_arn(component, version)
        recipe = json.loads(context.clients.greengrass.get_component(arn=arn)["recipe"])
        yield from recipe.get("ComponentDependencies", {})
