"""The contents of account and device, to compare before and after. Logs and history may differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from greenhouse import account, after_up_and_down
from infra.deployment_names import DeploymentName
from tests.whole.place import OURS, STACK, Place


@dataclass(frozen=True)
class Inventory:
    """Names by kind."""

    account: dict[str, list[str]]
    states: dict[str, tuple[str, str]]
    disk: list[str]  # On the device: recipes, artifacts, and what ran where.

    @classmethod
    def of(cls, place: Place, stacks: Sequence[str] = (STACK,)) -> Self:
        found = after_up_and_down.residue(place.home).found
        root = place.home.device(place.thing)
        own = [DeploymentName(project="edge-inference", stack=stack).without for stack in stacks]
        # After a destroy, a deployment that carries the others on has replaced theirs.
        for theirs in (account.TENANT_DEPLOYMENT, *map(str, own)):
            if theirs in found["deployments"]:
                found["deployments"].remove(theirs)
        return cls(
            # A destroy leaves the images on the engine that built them.
            account={kind: sorted(found[kind]) for kind in found if kind != "images"},
            states=place.states(),
            disk=sorted(
                str(path.relative_to(root))
                for folder in ("packages", "work")
                for path in (root / folder).rglob("*")
                if path.is_file()
            ),
        )

    @property
    def ours(self) -> list[str]:
        """Everything that carries our names."""
        everything = [
            *self.states,
            *self.disk,
            *(one for kind in self.account.values() for one in kind),
        ]
        return [one for one in everything if any(name in one for name in (*OURS, "edge-inference"))]
