"""An AWS account with a memory, behind real boto3 clients.

The clients are boto3's own. So they check parameters against the services' models, read pages and
raise modelled errors. Only the request is answered here, from memory.

The file is long because one account answers for all of its services.
"""

# ruff: noqa: N803  # the API's own names for its parameters

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import BytesIO
from types import SimpleNamespace
from typing import Any, Self

import boto3
import botocore.session
import pytest
from botocore.exceptions import EndpointConnectionError
from botocore.loaders import Loader

from infra.account import clients
from infra.account.clients import Clients
from infra.account.context import Context
from infra.account.target import DEFAULT_POLICIES
from infra.names import CHECK, CONSUMER, PROJECT_TAG, SERVICE, STACK_TAG

ACCOUNT, REGION = "123456789012", "eu-west-1"
THING_ARN = f"arn:aws:iot:{REGION}:{ACCOUNT}:thing/press-1"
NAME = "edge-inference/dev"
CONTEXT = Context(
    account=ACCOUNT,
    region=REGION,
    partition="aws",
    profile=None,
    project="edge-inference",
    stack="dev",
)
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)  # The time of a test's first deployment.
WANTED = {SERVICE: "1.2.3", CONSUMER: "1.3.4", CHECK: "1.4.5"}
GOOD = {SERVICE: ("1.2.3", "RUNNING"), CONSUMER: ("1.3.4", "RUNNING"), CHECK: ("1.4.5", "RUNNING")}
OTHER = {"com.other": ("1.0.0", "RUNNING")}
_MODELS = Loader()  # Read once for all tests, as each model takes a quarter of a second.
_GREENGRASS = f"arn:aws:greengrass:{REGION}:{ACCOUNT}"
DEVICE_ROLE = "GreengrassV2TokenExchangeRole"
TRUST: dict[str, Any] = {
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "credentials.iot.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    ]
}


class Killed(BaseException):
    """It ends a program like SIGKILL: nothing runs after it."""


class Refused(Exception):
    """An error of the API, by its AWS name."""


@dataclass
class Device:
    """A core device as the API shows it."""

    installed: dict[str, tuple[str, str]] = field(default_factory=dict)
    # Of root components, by name.
    dependencies: dict[str, tuple[str, str]] = field(default_factory=dict)
    # By component: which deployment brought it.
    sources: dict[str, str] = field(default_factory=dict)
    executions: dict[str, dict[str, Any]] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)  # Why a component is in its state.
    since: dict[str, datetime] = field(default_factory=dict)  # When it reached its state.
    status: str = "HEALTHY"
    architecture: str = "amd64"
    runtime: str = "aws_nucleus_classic"
    version: str = "2.18.0"

    def deploys(self, deployment: str, status: str, **details: Any) -> None:
        self.executions[deployment] = {"coreDeviceExecutionStatus": status, **details}


@dataclass
class Account:
    """The account's contents, and every request that came (`asked`), in order."""

    account: str = ACCOUNT  # Whose credentials are used.
    devices: dict[str, Device] = field(default_factory=dict)
    things: dict[str, str] = field(default_factory=dict)  # From name to ARN.
    groups: dict[str, list[str]] = field(default_factory=dict)
    deployments: list[dict[str, Any]] = field(default_factory=list)  # Oldest first.
    made: int = 0  # The number of deployments, including deleted ones.
    components: dict[str, dict[str, str]] = field(default_factory=dict)  # From ARN to tags.
    repositories: dict[str, dict[str, str]] = field(default_factory=dict)  # From name to tags.
    # From repository and tag to digest.
    images: dict[tuple[str, str], str] = field(default_factory=dict)
    indexes: dict[str, dict[str, Any]] = field(default_factory=dict)  # By digest.
    untagged: set[str] = field(default_factory=set)  # The digests that an index lists.
    buckets: dict[str, dict[str, str]] = field(default_factory=dict)
    # From bucket and key to content.
    objects: dict[str, dict[str, bytes]] = field(default_factory=dict)
    foreign_buckets: set[str] = field(default_factory=set)
    roles: dict[str, dict[str, Any]] = field(default_factory=lambda: {DEVICE_ROLE: TRUST})
    # Inline policies of a role.
    policies: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    # By ARN, if a test has a recipe.
    recipes: dict[str, dict[str, Any]] = field(default_factory=dict)
    # From ARN to cloud status.
    undeployable: dict[str, dict[str, Any]] = field(default_factory=dict)
    # From action to IAM's decision.
    decisions: dict[str, dict[str, Any]] = field(default_factory=dict)
    logs: dict[tuple[str, str], list[str]] = field(default_factory=dict)  # By group and stream.
    # By repository and digest.
    scans: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    reachable: bool = True
    denied: set[str] = field(default_factory=set)  # Operations that the caller has no right to.
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    per_page: int = 1  # A reader of only the first page is found out.
    killed_at: int | None = None  # So many requests are answered before the program is killed.

    @classmethod
    def with_a_device(cls, monkeypatch: pytest.MonkeyPatch) -> Self:
        """One thing, press-1, a core device with nothing on it. Every client asks this account."""
        account = cls(devices={"press-1": Device()}, things={"press-1": THING_ARN})
        session = account.session()
        monkeypatch.setattr(Clients, "_session", property(lambda _: session))
        clients.shared.cache_clear()
        # No other way leads to AWS.
        monkeypatch.setenv("AWS_REGION", REGION)
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        monkeypatch.setenv("AWS_ENDPOINT_URL_GREENGRASSV2", "http://127.0.0.1:1")
        return account

    @property
    def changes(self) -> list[str]:
        """The operations that changed something."""
        changing = ("Create", "Delete", "Cancel", "BatchDelete", "Put")
        return [operation for operation, _ in self.asked if operation.startswith(changing)]

    def session(self) -> boto3.Session:
        core = botocore.session.get_session()
        core.register_component("data_loader", _MODELS)
        session = boto3.Session(
            botocore_session=core,
            region_name=REGION,
            aws_access_key_id="nobody",
            aws_secret_access_key="nothing",
        )
        session.events.register("before-parameter-build", _remember)
        # botocore uses the returned value, although its stubs don't say so.
        answer: Any = self._answer
        session.events.register("before-call", answer)
        return session

    def deploy(
        self,
        target: str,
        name: str,
        components: dict[str, Any],
        tags: dict[str, str] | None = None,
        policies: dict[str, Any] | None = None,
    ) -> str:
        """Record a deployment as CreateDeployment does: it replaces the target's latest.

        A deployment with a stack's name has the stack's tags, unless a test says otherwise.
        """
        if tags is None:
            stack = re.match(r"(?:without )?(edge-inference)/([a-z0-9-]+)", name)
            tags = dict(zip((PROJECT_TAG, STACK_TAG), stack.groups(), strict=True)) if stack else {}
        for one in self.deployments:
            if one["targetArn"] == target:
                one["isLatestForTarget"] = False
                if one["deploymentStatus"] == "ACTIVE":
                    one["deploymentStatus"] = "CANCELED"
        self.made += 1
        found = f"{self.made:08d}-of-{name.replace('/', '-').replace(' ', '-')}"
        self.deployments.append(
            {
                "deploymentId": found,
                "targetArn": target,
                "deploymentName": name,
                "components": components,
                "deploymentPolicies": DEFAULT_POLICIES | (policies or {}),
                "deploymentStatus": "ACTIVE",
                "isLatestForTarget": True,
                "creationTimestamp": NOON + timedelta(seconds=self.made - 1),
                "tags": tags,
            }
        )
        return found

    def _page(self, key: str, everything: list[Any], token: str) -> dict[str, Any]:
        start = int(token or 0)
        end = start + self.per_page
        more = {"nextToken": str(end)} if end < len(everything) else {}
        return {key: everything[start:end], **more}

    def _answer(self, model: Any, context: dict[str, Any], **_: Any) -> tuple[Any, dict[str, Any]]:
        if self.killed_at is not None and len(self.asked) >= self.killed_at:
            raise Killed
        if not self.reachable:
            raise EndpointConnectionError(endpoint_url=f"https://{REGION}")
        asked = context["asked"]
        self.asked.append((model.name, asked))
        try:
            if model.name in self.denied:
                raise Refused("AccessDeniedException")  # noqa: TRY301  # an answer as any other
            name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", model.name).lower()
            return SimpleNamespace(status_code=200), getattr(self, f"_{name}")(**asked)
        except Refused as error:
            return SimpleNamespace(status_code=400), {
                "Error": {"Code": str(error), "Message": f"{model.name} {asked}"}
            }

    # greengrassv2

    def _device(self, name: str) -> Device:
        if name not in self.devices:
            raise Refused("ResourceNotFoundException")
        return self.devices[name]

    def _deployment(self, found: str) -> dict[str, Any]:
        for one in self.deployments:
            if one["deploymentId"] == found:
                return one
        raise Refused("ResourceNotFoundException")

    def _get_core_device(self, *, coreDeviceThingName: str) -> dict[str, Any]:
        device = self._device(coreDeviceThingName)
        return {
            "coreDeviceThingName": coreDeviceThingName,
            "status": device.status,
            "architecture": device.architecture,
            "runtime": device.runtime,
            "coreVersion": device.version,
            "lastStatusUpdateTimestamp": "2026-11-23 07:00",
        }

    def _delete_core_device(self, *, coreDeviceThingName: str) -> dict[str, Any]:
        self._device(coreDeviceThingName)
        del self.devices[coreDeviceThingName]
        return {}

    def _list_core_devices(
        self,
        *,
        thingGroupArn: str = "",
        nextToken: str = "",
        maxResults: int = 0,  # noqa: ARG002  # AWS may return fewer
    ) -> dict[str, Any]:
        """For a group: the devices that had a deployment to it, even after they left it."""
        to_group = [
            one["deploymentId"] for one in self.deployments if one["targetArn"] == thingGroupArn
        ]
        everything = [
            self._get_core_device(coreDeviceThingName=name)
            for name, device in self.devices.items()
            if not thingGroupArn
            or any(
                device.executions.get(one, {}).get("coreDeviceExecutionStatus") == "SUCCEEDED"
                for one in to_group
            )
        ]
        for one in everything:
            del one["coreVersion"]  # Only GetCoreDevice has this.
        return self._page("coreDevices", everything, nextToken)

    def _list_installed_components(
        self, *, coreDeviceThingName: str, topologyFilter: str = "ROOT", nextToken: str = ""
    ) -> dict[str, Any]:
        device = self._device(coreDeviceThingName)
        dependencies = device.dependencies if topologyFilter == "ALL" else {}
        everything = [
            {
                "componentName": name,
                "componentVersion": version,
                "lifecycleState": state,
                "lifecycleStateDetails": device.details.get(name, ""),
                "isRoot": name in device.installed,
                "lastInstallationSource": device.sources.get(name, ""),
                **(
                    {"lastStatusChangeTimestamp": device.since[name]}
                    if name in device.since
                    else {}
                ),
            }
            for name, (version, state) in {**device.installed, **dependencies}.items()
        ]
        return self._page("installedComponents", everything, nextToken)

    def _list_effective_deployments(
        self, *, coreDeviceThingName: str, nextToken: str = ""
    ) -> dict[str, Any]:
        targets = {one["deploymentId"]: one["targetArn"] for one in self.deployments}
        everything = [
            {"deploymentId": found, "targetArn": targets.get(found, THING_ARN), **details}
            for found, details in self._device(coreDeviceThingName).executions.items()
        ]
        return self._page("effectiveDeployments", everything, nextToken)

    def _list_deployments(
        self, *, historyFilter: str, targetArn: str | None = None, nextToken: str = ""
    ) -> dict[str, Any]:
        everything = [
            one
            for one in self.deployments  # The API promises no order.
            if targetArn in (None, one["targetArn"])
            and (one["isLatestForTarget"] or historyFilter == "ALL")
        ]
        return self._page("deployments", everything, nextToken)

    def _get_deployment(self, *, deploymentId: str) -> dict[str, Any]:
        return self._deployment(deploymentId)

    def _create_deployment(
        self,
        *,
        targetArn: str,
        deploymentName: str,
        components: dict[str, Any],
        tags: dict[str, str],
        deploymentPolicies: dict[str, Any],
        clientToken: str,
    ) -> dict[str, Any]:
        assert clientToken  # boto3 itself adds it.
        kind, _, name = targetArn.rpartition(":")[2].partition("/")
        if name not in (self.things if kind == "thing" else self.groups):
            raise Refused("ResourceNotFoundException")
        return {
            "deploymentId": self.deploy(
                targetArn, deploymentName, components, tags, deploymentPolicies
            )
        }

    def _cancel_deployment(self, *, deploymentId: str) -> dict[str, Any]:
        found = self._deployment(deploymentId)
        # AWS' behaviour here was not observed, so this is the stricter case.
        if found["deploymentStatus"] != "ACTIVE":
            raise Refused("ConflictException")
        found["deploymentStatus"] = "CANCELED"
        return {}

    def _delete_deployment(self, *, deploymentId: str) -> dict[str, Any]:
        found = self._deployment(deploymentId)
        if found["deploymentStatus"] not in ("CANCELED", "INACTIVE"):
            raise Refused("ConflictException")  # "should be cancelled before deleted"
        self.deployments.remove(found)
        return {}

    def _get_component(self, *, arn: str) -> dict[str, Any]:
        if arn not in self.components:
            raise Refused("ResourceNotFoundException")
        recipe = json.dumps(self.recipes.get(arn, {})).encode()
        return {"recipe": recipe, "tags": self.components[arn]}

    def _describe_component(self, *, arn: str) -> dict[str, Any]:
        """It exists and is deployable, unless a test says otherwise.

        AWS-provided components are AWS's.
        """
        provided = arn.partition(":components:")[2].startswith("aws.")
        if provided != (arn.split(":")[4] == "aws") or self.undeployable.get(arn) == {}:
            raise Refused("ResourceNotFoundException")
        return {"status": self.undeployable.get(arn, {"componentState": "DEPLOYABLE"})}

    def _delete_component(self, *, arn: str) -> dict[str, Any]:
        del self.components[arn]
        return {}

    def _list_component_versions(self, *, arn: str, nextToken: str = "") -> dict[str, Any]:
        everything = [{"arn": one} for one in self.components if one.startswith(f"{arn}:")]
        if not everything:
            raise Refused("ResourceNotFoundException")
        return self._page("componentVersions", everything, nextToken)

    # iot

    def _describe_thing(self, *, thingName: str) -> dict[str, Any]:
        if thingName not in self.things:
            raise Refused("ResourceNotFoundException")
        return {"thingArn": self.things[thingName]}

    def _describe_thing_group(self, *, thingGroupName: str) -> dict[str, Any]:
        if thingGroupName not in self.groups:
            raise Refused("ResourceNotFoundException")
        return {"thingGroupArn": f"arn:aws:iot:{REGION}:{ACCOUNT}:thinggroup/{thingGroupName}"}

    def _list_things_in_thing_group(
        self,
        *,
        thingGroupName: str,
        recursive: bool,
        nextToken: str = "",
        maxResults: int = 0,  # noqa: ARG002  # AWS may return fewer
    ) -> dict[str, Any]:
        assert recursive, "a deployment reaches the groups inside of a group too"
        self._describe_thing_group(thingGroupName=thingGroupName)  # Raises if there is none.
        return self._page("things", self.groups[thingGroupName], nextToken)

    # iam

    def _get_role(self, *, RoleName: str) -> dict[str, Any]:
        if RoleName not in self.roles:
            raise Refused("NoSuchEntity")
        arn = f"arn:aws:iam::{ACCOUNT}:role/{RoleName}"
        trust = json.dumps(self.roles[RoleName])  # boto3 reads it.
        return {"Role": {"Arn": arn, "AssumeRolePolicyDocument": trust}}

    def _list_role_policies(self, *, RoleName: str, Marker: str = "") -> dict[str, Any]:
        page = self._page(
            "PolicyNames", [one for role, one in self.policies if role == RoleName], Marker
        )
        if token := page.pop("nextToken", None):
            page |= {"IsTruncated": True, "Marker": token}
        return page

    def _get_role_policy(self, *, RoleName: str, PolicyName: str) -> dict[str, Any]:
        if (RoleName, PolicyName) not in self.policies:
            raise Refused("NoSuchEntity")
        document = json.dumps(self.policies[RoleName, PolicyName])  # boto3 reads it.
        return {"RoleName": RoleName, "PolicyName": PolicyName, "PolicyDocument": document}

    def _put_role_policy(self, *, RoleName: str, PolicyName: str, PolicyDocument: str) -> Any:
        self.policies[RoleName, PolicyName] = json.loads(PolicyDocument)
        return {}

    def _simulate_principal_policy(
        self,
        *,
        PolicySourceArn: str,
        ActionNames: list[str],
        ResourceArns: list[str],
        PolicyInputList: list[str],
    ) -> dict[str, Any]:
        assert PolicySourceArn.rpartition("/")[2] in self.roles
        assert PolicyInputList, "the role's rights of today say nothing of those to come"
        return {
            "EvaluationResults": [
                {"EvalActionName": action, "EvalResourceName": resource, "EvalDecision": "allowed"}
                | self.decisions.get(action, {})
                for action in ActionNames
                for resource in ResourceArns
            ]
        }

    # sts

    def _get_caller_identity(self) -> dict[str, Any]:
        return {"Account": self.account, "Arn": f"arn:aws:iam::{self.account}:user/nobody"}

    # logs

    def _get_log_events(
        self, *, logGroupName: str, logStreamName: str, limit: int, startFromHead: bool
    ) -> dict[str, Any]:
        assert not startFromHead, "the last lines say why"
        if (logGroupName, logStreamName) not in self.logs:
            raise Refused("ResourceNotFoundException")
        lines = self.logs[logGroupName, logStreamName][-limit:]
        return {"events": [{"timestamp": 0, "message": f"{line}\n"} for line in lines]}

    # ecr

    def _describe_repositories(self, *, repositoryNames: list[str]) -> dict[str, Any]:
        [name] = repositoryNames
        if name not in self.repositories:
            raise Refused("RepositoryNotFoundException")
        arn = f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/{name}"
        return {"repositories": [{"repositoryName": name, "repositoryArn": arn}]}

    def _list_tags_for_resource(self, *, resourceArn: str) -> dict[str, Any]:
        return {"tags": _tag_list(self.repositories[resourceArn.partition(":repository/")[2]])}

    def _delete_repository(self, *, repositoryName: str, force: bool) -> dict[str, Any]:
        inside = [image for image in self.images if image[0] == repositoryName]
        if inside and not force:
            raise Refused("RepositoryNotEmptyException")
        for image in inside:
            del self.images[image]
        del self.repositories[repositoryName]
        return {}

    def _batch_delete_image(
        self, *, repositoryName: str, imageIds: list[dict[str, str]]
    ) -> dict[str, Any]:
        if repositoryName not in self.repositories:
            raise Refused("RepositoryNotFoundException")
        for one in imageIds:
            if one.get("imageDigest") in self.listed_by_index():
                failure = {"imageId": one, "failureCode": "ImageReferencedByManifestList"}
                return {"imageIds": [], "failures": [failure]}
        for untagged in [one["imageDigest"] for one in imageIds if "imageDigest" in one]:
            self.indexes.pop(untagged, None)
            self.untagged.discard(untagged)
        for (repository, tag), digest in list(self.images.items()):
            asked = {"imageTag": tag} in imageIds or {"imageDigest": digest} in imageIds
            if repository == repositoryName and asked:
                del self.images[repository, tag]
        return {"imageIds": [], "failures": []}  # ECR reports no error for a missing image.

    def listed_by_index(self) -> set[str]:
        """What can't be deleted before the index that refers to it."""
        return {one["digest"] for index in self.indexes.values() for one in index["manifests"]}

    def _list_images(
        self, *, repositoryName: str, nextToken: str = "", **asked: Any
    ) -> dict[str, Any]:
        if repositoryName not in self.repositories:
            raise Refused("RepositoryNotFoundException")
        assert asked == {"filter": {"tagStatus": "TAGGED"}}
        everything = [
            {"imageTag": tag, "imageDigest": digest}
            for (repository, tag), digest in self.images.items()
            if repository == repositoryName
        ]
        return self._page("imageIds", everything, nextToken)

    def _batch_get_image(
        self,
        *,
        repositoryName: str,
        imageIds: list[dict[str, str]],
        acceptedMediaTypes: Sequence[str],
    ) -> dict[str, Any]:
        assert "application/vnd.oci.image.index.v1+json" in acceptedMediaTypes
        if repositoryName not in self.repositories:
            raise Refused("RepositoryNotFoundException")
        [asked] = imageIds
        digest = self.images.get((repositoryName, asked.get("imageTag", "")))
        if asked.get("imageDigest") in self.indexes:
            digest = asked["imageDigest"]
        image = {
            "imageId": {"imageDigest": digest},
            "imageManifest": json.dumps({"of": digest} | self.indexes.get(digest or "", {})),
            "imageManifestMediaType": "application/vnd.docker.distribution.manifest.v2+json",
        }
        return {"images": [image] if digest else []}

    def _describe_image_scan_findings(
        self, *, repositoryName: str, imageId: dict[str, str], nextToken: str = ""
    ) -> dict[str, Any]:
        key = (repositoryName, imageId["imageDigest"])
        if key not in self.scans:
            raise Refused("ScanNotFoundException")
        found = self.scans[key]
        listed = found.get("imageScanFindings", {}).get("findings", [])
        if nextToken or len(listed) < 2:
            return found | {
                "imageScanFindings": found.get("imageScanFindings", {}) | {"findings": listed[-1:]}
            }
        return found | {"imageScanFindings": {"findings": listed[:-1]}, "nextToken": "the last one"}

    def _put_image(
        self,
        *,
        repositoryName: str,
        imageManifest: str,
        imageManifestMediaType: str,
        imageTag: str,
    ) -> dict[str, Any]:
        assert imageManifestMediaType, "or ECR has to guess"
        if (repositoryName, imageTag) in self.images:
            raise Refused("ImageAlreadyExistsException")
        self.images[repositoryName, imageTag] = json.loads(imageManifest)["of"]
        return {}

    # s3

    def _head_bucket(self, *, Bucket: str, ExpectedBucketOwner: str) -> dict[str, Any]:
        if Bucket in self.foreign_buckets:
            raise Refused("403")
        if Bucket not in self.buckets:
            raise Refused("404")
        assert ExpectedBucketOwner == ACCOUNT
        return {}

    def _get_bucket_tagging(self, *, Bucket: str) -> dict[str, Any]:
        if not self.buckets[Bucket]:
            raise Refused("NoSuchTagSet")
        return {"TagSet": _tag_list(self.buckets[Bucket])}

    def _list_objects_v2(
        self, *, Bucket: str, EncodingType: str, Prefix: str = "", ContinuationToken: str = ""
    ) -> dict[str, Any]:
        assert EncodingType == "url"  # boto3 itself adds it.
        if Bucket not in self.buckets:
            raise Refused("NoSuchBucket")
        everything = [  # Stored one after the other, a second apart.
            {"Key": key, "LastModified": NOON + timedelta(seconds=number)}
            for number, key in enumerate(self.objects.get(Bucket, {}))
            if key.startswith(Prefix)
        ]
        page = self._page("Contents", everything, ContinuationToken)
        if token := page.pop("nextToken", None):
            page |= {"IsTruncated": True, "NextContinuationToken": token}
        return page

    def _get_object(self, *, Bucket: str, Key: str, ChecksumMode: str) -> dict[str, Any]:
        assert ChecksumMode  # boto3 itself adds it.
        return {"Body": BytesIO(self.objects[Bucket][Key])}

    def _delete_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:
        del self.objects[Bucket][Key]
        return {}

    def _delete_bucket(self, *, Bucket: str) -> dict[str, Any]:
        if self.objects.get(Bucket):
            raise Refused("BucketNotEmpty")
        del self.buckets[Bucket]
        return {}


class Time:
    """A clock without waiting: each pause runs the next event of the test's world."""

    def __init__(self, *events: Callable[[], object]) -> None:
        self.passed = 0.0
        self._events: Iterator[Callable[[], object]] = iter(events)

    def now(self) -> float:
        return self.passed

    def pause(self, seconds: float) -> None:
        self.passed += seconds
        next(self._events, lambda: None)()


def component_arn(name: str, version: str) -> str:
    return f"{_GREENGRASS}:components:{name}:versions:{version}"


def spec(version: str, **details: Any) -> dict[str, Any]:
    """A component of a deployment, in the API's shape."""
    return {"componentVersion": version, **details}


def _remember(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    context["asked"] = dict(params)


def _tag_list(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]
