"""Reads a preview's meaning for devices."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet.plan import rights
from fleet.plan.preview import MASKED, UNKNOWN, Preview, Resource
from fleet.plan.rights import Right
from infra.names import Names

SCAN_SEVERITY = "high"  # The default of Pulumi.yaml, which a preview doesn't print.

Version = tuple[str, str]  # A component and its version.


@dataclass(frozen=True, kw_only=True)
class StackChange:
    """The changes of a stack by an update or a destroy."""

    project: str
    stack: str
    destroys: bool
    findings: tuple[str, ...]  # The program's warnings.
    rights: tuple[Right, ...]  # Only those in the account.
    outputs: Mapping[str, Any]  # The stack's current outputs.
    answering: Mapping[str, str]  # The versions that devices must answer with.
    versions: Mapping[str, str]  # Our next versions. Today's for a stack that only publishes.
    recipes: Mapping[Version, Mapping[str, Any]]  # Without unbuilt images and secrets.
    objects: Mapping[str, Mapping[str, str]]  # Key to the stored text or path.
    retargeted: frozenset[str]  # Architectures whose image changes its engine.
    deployment: Resource | None
    severity: str  # The lowest severity of listed findings.

    @property
    def names(self) -> Names:
        """The stack's component names."""
        return Names.of(self.versions or self.outputs.get("components", {}))

    @classmethod
    def of(cls, preview: Preview) -> StackChange:
        outputs: Mapping[str, Any] = {}
        answering: Mapping[str, str] | None = None
        recipes, objects, retargeted = {}, {}, set()
        deployment = None
        for one in preview.resources:
            kind = one.type.rpartition(":")[2]
            if kind == "Stack":
                outputs = one.stood
            elif kind == "Answering":
                answering = one.after.get("components", {})
            elif kind == "Deployment":
                deployment = deployment or one
            elif kind == "BucketObjectv2" and one.after:
                objects[str(one.after["key"])] = one.after.get("source", {})
            elif kind == "Image" and _retargeted(one):
                retargeted.add(one.name.rpartition("-")[2])
            elif kind == "ComponentVersion":
                text = one.after.get("inlineRecipe", UNKNOWN)
                if text not in (UNKNOWN, MASKED):
                    recipe = json.loads(text)
                    recipes[recipe["ComponentName"], recipe["ComponentVersion"]] = recipe
        return cls(
            project=preview.project,
            stack=preview.stack,
            destroys=preview.destroys,
            findings=preview.findings,
            rights=rights.changes(preview),
            outputs=outputs,
            answering=answering or {},
            versions=outputs.get("components", {}) if answering is None else answering,
            recipes=recipes,
            objects=objects,
            retargeted=frozenset(retargeted),
            deployment=deployment,
            severity=preview.config.get(f"{preview.project}:scan-severity", SCAN_SEVERITY),
        )


def _retargeted(image: Resource) -> bool:
    """Whether an image changes its engine, so that today's size doesn't predict the next."""
    now, then = (side.get("build", {}).get("target") for side in (image.before, image.after))
    return bool(image.before) and now != then
