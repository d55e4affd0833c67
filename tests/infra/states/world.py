"""An account whose devices obey, and what a provider makes in it for each kind of resource.

Everything is done at once: a deployment is on its devices when it is made.
"""

# ruff: noqa: N802  # a resource's type is a part of the name

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.names import COMPONENTS
from tests.infra.fakes import (
    ACCOUNT,
    DEVICE_ROLE,
    REGION,
    THING_ARN,
    Account,
    Device,
    Refused,
    component_arn,
)

TENANT = "com.tenant"  # It belongs to somebody else, and was on press-1 before anything of ours.
FOLLOWER = f"arn:aws:iot:{REGION}:{ACCOUNT}:thing/press-2"


class Exists(Exception):
    """A provider's error if its API refuses to make a thing a second time."""


@dataclass
class World(Account):
    """One thing with somebody's component, and a second thing with nothing."""

    has_of: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    """By device and target: what the last deployment from there has brought."""

    def __post_init__(self) -> None:
        self.devices |= {"press-1": Device(), "press-2": Device()}
        self.things |= {"press-1": THING_ARN, "press-2": FOLLOWER}
        self.roles[f"{DEVICE_ROLE}-2"] = self.roles[DEVICE_ROLE]

    def settle_tenant(self) -> None:
        self.deploy(THING_ARN, "somebody's", {TENANT: {"componentVersion": "1.0.0"}})

    def snapshot(self) -> dict[str, Any]:
        """The contents, for `restore`, without the requests."""
        return copy.deepcopy({**vars(self), "asked": []})

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        vars(self).update(copy.deepcopy(dict(snapshot)))

    def deploy(
        self,
        target: str,
        name: str,
        components: dict[str, Any],
        tags: dict[str, str] | None = None,
        policies: dict[str, Any] | None = None,
    ) -> str:
        made = super().deploy(target, name, components, tags, policies)
        for thing, arn in self.things.items():
            if arn == target:
                self._obey(thing, target, made, components)
        return made

    def _obey(self, thing: str, target: str, made: str, components: Mapping[str, Any]) -> None:
        device, has = self.devices[thing], self.has_of.setdefault(thing, {})
        has[target] = dict(components)
        device.installed = {
            name: (spec["componentVersion"], "RUNNING")
            for brought in has.values()
            for name, spec in brought.items()
        }
        device.sources = {
            name: device.sources.get(name, made) if name not in components else made
            for name in device.installed
        }
        device.deploys(made, "SUCCEEDED")

    def lose_deployments(self, target: str) -> None:
        """Somebody deletes every deployment to the target. Devices keep what they run."""
        self.deployments = [one for one in self.deployments if one["targetArn"] != target]

    def ours_on(self, thing: str) -> dict[str, str]:
        """Our components on the device: version by name."""
        return {
            name: version
            for name, (version, _) in self.devices[thing].installed.items()
            if name in COMPONENTS
        }

    def missing_of(self, record: Mapping[str, Any]) -> list[str]:
        """What the account no longer has of a release, which a device couldn't install again."""
        bucket, tags = record["bucket"], self.images
        there = {f"arn:aws:s3:::{bucket}/{key}" for key in self.objects.get(bucket, {})}
        digests = {
            digest for (repository, _), digest in tags.items() if repository == record["repository"]
        }
        return [
            *(one for one in record["objects"] if one not in there),
            *(one for one in record["image"].values() if one.partition("@")[2] not in digests),
            *(
                f"{name} {version}"
                for name, version in record["components"].items()
                if component_arn(name, version) not in self.components
            ),
        ]

    def records(self) -> dict[str, dict[str, Any]]:
        """Every release that has a record, by its components' versions on a device."""
        return {
            json.dumps(record["components"], sort_keys=True): record
            for objects in self.objects.values()
            for key, content in objects.items()
            if key.startswith("releases/")
            for record in [json.loads(content)]
        }

    # What the providers do: one method makes, another removes. `made` are the resource's outputs.

    def make(self, kind: str, inputs: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """The id, and what only the provider knows."""
        make: Any = getattr(self, f"_make_{kind.rpartition(':')[2]}", None)
        made: tuple[str, dict[str, Any]] = (
            make(inputs) if make else (str(inputs.get("bucket", "made")), {})
        )
        return made

    def remove(self, kind: str, id_: str, outputs: Mapping[str, Any]) -> None:
        if remove := getattr(self, f"_remove_{kind.rpartition(':')[2]}", None):
            remove(id_, outputs)

    def _make_Bucket(self, inputs: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        name = inputs["bucket"]
        if name in self.buckets:
            raise Exists(f"BucketAlreadyOwnedByYou: {name}")
        self.buckets[name], self.objects[name] = dict(inputs["tags"]), {}
        return name, {"arn": f"arn:aws:s3:::{name}"}

    def _remove_Bucket(self, id_: str, _: Mapping[str, Any]) -> None:
        self.buckets.pop(id_, None)
        self.objects.pop(id_, None)  # force_destroy

    def _make_BucketObjectv2(self, inputs: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        key = inputs["key"]
        if inputs["bucket"] not in self.objects:
            raise Exists(f"NoSuchBucket: {inputs['bucket']}")
        self.objects[inputs["bucket"]][key] = str(inputs.get("content", "")).encode()
        return key, {"arn": f"arn:aws:s3:::{inputs['bucket']}/{key}"}

    def _make_Repository(self, inputs: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        name = inputs["name"]
        if name in self.repositories:
            raise Exists(f"RepositoryAlreadyExistsException: {name}")
        self.repositories[name] = dict(inputs["tags"])
        return name, {
            "arn": f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/{name}",
            "repositoryUrl": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{name}",
        }

    def _remove_Repository(self, id_: str, _: Mapping[str, Any]) -> None:
        if self.repositories.pop(id_, None) is not None:  # force_delete
            for image in [one for one in self.images if one[0] == id_]:
                del self.images[image]

    def _make_Image(self, inputs: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        where, _, tag = inputs["imageName"].rpartition(":")
        repository = where.partition("/")[2]
        if repository not in self.repositories:
            raise Exists(f"name unknown: {repository}")
        if (repository, tag) in self.images:
            raise Exists(f"ImageTagAlreadyExistsException: {tag}")
        # An image that is built again has another digest.
        digest = f"sha256:{len(self.asked):064d}"
        self.images[repository, tag] = digest
        return "image", {"repoDigest": f"{where}@{digest}"}

    def _make_RolePolicy(self, inputs: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        self.policies[inputs["role"], inputs["name"]] = json.loads(inputs["policy"])
        return f"{inputs['role']}:{inputs['name']}", {}

    def _remove_RolePolicy(self, id_: str, _: Mapping[str, Any]) -> None:
        role, name = id_.split(":")
        self.policies.pop((role, name), None)

    def _make_ComponentVersion(self, inputs: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        recipe = json.loads(inputs["inlineRecipe"])
        arn = component_arn(recipe["ComponentName"], recipe["ComponentVersion"])
        if arn in self.components:
            raise Exists(f"AlreadyExists: {arn}")
        self.components[arn], self.recipes[arn] = dict(inputs["tags"]), recipe
        return arn, {"componentVersion": recipe["ComponentVersion"]}

    def _describe_component(self, *, arn: str) -> dict[str, Any]:
        if any(f":components:{name}:" in arn for name in COMPONENTS) and arn not in self.components:
            raise Refused("ResourceNotFoundException")
        return super()._describe_component(arn=arn)

    def _make_Deployment(self, inputs: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        made = self.deploy(
            inputs["targetArn"],
            inputs["deploymentName"],
            inputs["components"],
            dict(inputs["tags"]),
            inputs.get("deploymentPolicies"),
        )
        return made, {"deploymentId": made}

    def _remove_Deployment(self, id_: str, _: Mapping[str, Any]) -> None:
        self.deployments = [one for one in self.deployments if one["deploymentId"] != id_]
