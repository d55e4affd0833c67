"""Components of others that need ours: a destroy would leave ours running on their account.

A device keeps what a root component depends on, whatever the deployment names. Ours would go on
there without its versions, its image and its rights in the account.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any

from infra.account.clients import unless_gone
from infra.account.context import Context
from infra.account.devices import each_device
from infra.account.greengrass import installed
from infra.rollout.clock import RolloutFailed


def check_dependents(
    context: Context, *, devices: Sequence[str], others: Mapping[str, Any], ours: AbstractSet[str]
) -> None:
    """Raises RolloutFailed, by name, where a component of others depends on one of ours.

    `others` are the target's latest deployment without ours, in the API's shapes. What is installed
    on the devices counts as well: another target may have deployed it.
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
            "\n".join(
                [
                    "nothing was uninstalled: components of others depend on ours, and would keep"
                    " them running on the devices:",
                    *(f"  {line}" for line in needing),
                    "Deploy to the target without them (aws greengrassv2 create-deployment), then"
                    " pulumi destroy again",
                ]
            )
        )


def _dependencies(context: Context, component: str, version: str) -> Iterator[str]:
    """What the component's recipe names; AWS's own components know nothing of ours."""
    if component.startswith("aws."):
        return
    with unless_gone():
        arn = context.component_arn(component, version)
        recipe = json.loads(context.clients.greengrass.get_component(arn=arn)["recipe"])
        yield from recipe.get("ComponentDependencies", {})
