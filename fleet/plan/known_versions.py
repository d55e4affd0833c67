"""Recipes, files and sizes of the devices' current and next versions, as far as known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleet.observe import Device, Target, complete_release
from fleet.plan.account_facts import AccountFacts, artifacts, every_artifact, object_key
from fleet.plan.preview import UNKNOWN
from fleet.plan.stack_change import StackChange
from infra.names import Names, role
from infra.publish.recipe import FILES, MODEL


class KnownVersions:
    """Recipes and sizes of current and next versions, from the account or from the preview."""

    def __init__(self, stack_change: StackChange, account_facts: AccountFacts) -> None:
        self._stack_change, self._facts = stack_change, account_facts
        self._keys = {key.rpartition("/")[2]: key for key in stack_change.objects}

    @property
    def names(self) -> Names:
        return self._stack_change.names

    def elsewhere(self, target: Target, device: Device) -> dict[str, str]:
        """The components that another target also deploys to the device, with that target."""
        arns = {one.target for one in device.timeline} - {target.arn}
        return {
            name: arn.rpartition(":")[2]
            for arn in sorted(arns)
            for name in self._facts.elsewhere.get(arn, ())
        }

    def recipe(self, name: str, version: str) -> Mapping[str, Any] | None:
        return self._stack_change.recipes.get((name, version)) or self._facts.recipes.get(
            (name, version)
        )

    def files(self, name: str, version: str, before: str, architecture: str) -> dict[str, str]:
        """File name to object key of a version's artifacts, even while its recipe is unknown."""
        recipe = self.recipe(name, version)
        if recipe is None:
            older = self.files(name, before, "", architecture) if before else {}
            return {
                file: self._keys.get(file, older.get(file, ""))
                for file in FILES.get(role(name), ())
            }
        keys = [object_key(uri) for uri in artifacts(recipe, architecture) if uri.startswith("s3:")]
        return {key.rpartition("/")[2]: key for key in keys}

    def images(self, name: str, version: str, architecture: str) -> list[str]:
        recipe = self.recipe(name, version) or {}
        return [
            uri.removeprefix("docker:")
            for uri in artifacts(recipe, architecture)
            if uri.startswith("docker:")
        ]

    def blobs(self, image: str) -> Mapping[str, int] | None:
        return self._facts.images.get(image)

    def size(self, key: str) -> int | None:
        return self._facts.objects.get(key)

    def today(self, architecture: str) -> str:
        """The image that the stack's last update built for this architecture."""
        if architecture in self._stack_change.retargeted:
            return ""  # Its size doesn't predict another engine's.
        return str(self._stack_change.outputs.get("image", {}).get(architecture, ""))

    def release(self) -> str:
        """The next release; a destroy has none."""
        versions = self._stack_change.versions
        return "" if UNKNOWN in versions.values() else complete_release(versions)

    def model(self) -> str:
        """The id of the next model: the beginning of its content's hash (infra/model/golden.py)."""
        version = self._stack_change.versions.get(self.names.service, "")
        recipe = self.recipe(self.names.service, version)
        if recipe is None:  # Its image isn't built.
            return str(self._keys.get(MODEL, ""))[:12]
        keys = (object_key(uri) for uri in every_artifact(recipe))
        return next((key[:12] for key in keys if key.endswith(f"/{MODEL}")), "")

    def older(self, name: str, now: str, then: str) -> bool:
        if then == UNKNOWN:
            return False
        if int(then.partition(".")[0]) != int(now.partition(".")[0]):
            return int(then.partition(".")[0]) < int(now.partition(".")[0])
        dates = self._facts.published
        return (name, then) in dates and dates[name, then] < dates.get(
            (name, now), dates[name, then]
        )

    def may_be_on(self, device: Device, name: str, version: str) -> bool:
        """Whether the device may still have this version: the nucleus keeps one older version."""
        date = self._facts.published.get((name, version))
        return date is not None and any(one.created > date for one in device.timeline)
