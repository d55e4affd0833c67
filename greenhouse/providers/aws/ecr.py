"""Image repositories, their lifecycle rules, and the login to them.

MiniStack gives its registry AWS's host names. The engine on this machine finds the registry at
MiniStack's own address, so programs get that address.
"""

# ruff: noqa: ARG002  # one shape of verbs for all resources; not all need every argument

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, ClassVar

from pulumi_aws.ecr import lifecycle_policy, repository

from greenhouse.providers.aws.common import (
    AwsFunction,
    AwsResource,
    fine_if,
    tag_list,
    tag_map,
)
from greenhouse.providers.protocol.resource import Failure, Naming, Refused
from greenhouse.providers.protocol.session import Call
from greenhouse.providers.protocol.wire import Properties

if TYPE_CHECKING:
    from mypy_boto3_ecr import ECRClient

_MUTABILITIES = ("MUTABLE", "IMMUTABLE")
_GONE = "RepositoryNotFoundException"


class Repository(AwsResource):
    """A repository. A push to it and a pull from it really work."""

    kind = "aws:ecr/repository:Repository"
    args = repository.RepositoryArgs
    acted_on = frozenset(
        {
            "encryptionConfigurations",
            "forceDelete",
            "imageScanningConfiguration",
            "imageTagMutability",
            "name",
            "region",
            "tags",
        }
    )
    defaults: ClassVar = {"imageTagMutability": "MUTABLE"}
    replaced_by = frozenset({"encryptionConfigurations", "name", "region"})
    computed = frozenset({"arn", "region", "registryId", "repositoryUrl", "tagsAll"})
    renewed = frozenset({"tagsAll"})

    def check(
        self, call: Call, news: Properties, olds: Properties, naming: Naming
    ) -> tuple[Properties, list[Failure]]:
        inputs, failures = super().check(call, news, olds, naming)
        failures += self.name_itself("name", inputs, olds, naming, longest=256, lower=True)
        if (mutability := inputs["imageTagMutability"]) not in _MUTABILITIES:
            failures.append(
                Failure(
                    "imageTagMutability",
                    f"must be {' or '.join(_MUTABILITIES)} here, not '{mutability}'",
                )
            )
        return inputs, failures

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        region = self.region(call, inputs)
        optional: dict[str, Any] = {}
        if scanning := inputs.get("imageScanningConfiguration"):
            optional["imageScanningConfiguration"] = scanning
        for encryption in inputs.get("encryptionConfigurations", ()):
            optional["encryptionConfiguration"] = encryption
        made = self.clients.ecr(region).create_repository(
            repositoryName=inputs["name"],
            imageTagMutability=inputs["imageTagMutability"],
            tags=tag_list(inputs.get("tags")),
            **optional,
        )["repository"]
        return inputs["name"], self._attributes(made, region, inputs.get("tags"))

    def read(self, call: Call, id_: str, olds: Properties) -> Properties | None:
        region = self.region(call, olds)
        ecr = self.clients.ecr(region)
        with fine_if(_GONE):
            (found,) = ecr.describe_repositories(repositoryNames=[id_])["repositories"]
            tags = tag_map(ecr.list_tags_for_resource(resourceArn=found["repositoryArn"])["tags"])
            told: Properties = {
                "name": id_,
                "imageTagMutability": found["imageTagMutability"],
                "tags": tags,
            }
            if "imageScanningConfiguration" in olds or not olds:
                told["imageScanningConfiguration"] = found["imageScanningConfiguration"]
            if "encryptionConfigurations" in olds or not olds:
                told["encryptionConfigurations"] = [found["encryptionConfiguration"]]
            return {**told, **self._attributes(found, region, tags)}
        return None

    def update(self, call: Call, id_: str, olds: Properties, news: Properties) -> Properties:
        ecr = self.clients.ecr(self.region(call, news))
        if olds.get("imageTagMutability") != news["imageTagMutability"]:
            ecr.put_image_tag_mutability(
                repositoryName=id_, imageTagMutability=news["imageTagMutability"]
            )
        if olds.get("imageScanningConfiguration") != news.get("imageScanningConfiguration"):
            ecr.put_image_scanning_configuration(
                repositoryName=id_,
                imageScanningConfiguration=news.get("imageScanningConfiguration")
                or {"scanOnPush": False},
            )
        self._retag(ecr, olds, news.get("tags") or {})
        return {"tagsAll": news.get("tags") or {}}

    def delete(self, call: Call, id_: str, olds: Properties) -> None:
        with fine_if(_GONE):
            self.clients.ecr(self.region(call, olds)).delete_repository(
                repositoryName=id_, force=bool(olds.get("forceDelete"))
            )

    def _retag(self, ecr: ECRClient, olds: Properties, tags: dict[str, str]) -> None:
        before = olds.get("tags") or {}
        if dropped := sorted(before.keys() - tags.keys()):
            ecr.untag_resource(resourceArn=olds["arn"], tagKeys=dropped)
        if added := dict(tags.items() - before.items()):
            ecr.tag_resource(resourceArn=olds["arn"], tags=tag_list(added))

    def _attributes(self, made: Any, region: str, tags: Properties | None) -> Properties:
        return {
            "arn": made["repositoryArn"],
            "region": region,
            "registryId": made["registryId"],
            "repositoryUrl": f"{self.clients.registry}/{made['repositoryName']}",
            "tagsAll": tags or {},
        }


class LifecyclePolicy(AwsResource):
    """The rules for removing images. MiniStack stores them, and only AWS carries them out."""

    kind = "aws:ecr/lifecyclePolicy:LifecyclePolicy"
    args = lifecycle_policy.LifecyclePolicyArgs
    acted_on = frozenset({"policy", "region", "repository"})
    documents: ClassVar = {"policy": lifecycle_policy.LifecyclePolicyDocumentArgs}
    replaced_by = frozenset({"region", "repository"})
    computed = frozenset({"region", "registryId"})

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        return inputs["repository"], self._put(call, inputs)

    def read(self, call: Call, id_: str, olds: Properties) -> Properties | None:
        region = self.region(call, olds)
        with fine_if(_GONE, "LifecyclePolicyNotFoundException"):
            found = self.clients.ecr(region).get_lifecycle_policy(repositoryName=id_)
            return {
                "policy": found["lifecyclePolicyText"],
                "region": region,
                "registryId": found["registryId"],
                "repository": id_,
            }
        return None

    def update(self, call: Call, id_: str, olds: Properties, news: Properties) -> Properties:
        return self._put(call, news)

    def delete(self, call: Call, id_: str, olds: Properties) -> None:
        with fine_if(_GONE, "LifecyclePolicyNotFoundException"):
            self.clients.ecr(self.region(call, olds)).delete_lifecycle_policy(repositoryName=id_)

    def _put(self, call: Call, inputs: Properties) -> Properties:
        region = self.region(call, inputs)
        put = self.clients.ecr(region).put_lifecycle_policy(
            repositoryName=inputs["repository"], lifecyclePolicyText=inputs["policy"]
        )
        return {"region": region, "registryId": put["registryId"]}


class GetAuthorizationToken(AwsFunction):
    """The login to the account's registry, for twelve hours."""

    kind = "aws:ecr/getAuthorizationToken:getAuthorizationToken"
    arguments = frozenset({"region", "registryId"})

    def call(self, call: Call, arguments: Properties) -> Properties:
        region = self.clients.region(call, arguments)
        account = self.clients.sts(region).get_caller_identity()["Account"]
        if arguments.get("registryId", account) != account:
            raise Refused(
                f"there is no registry of the account {arguments['registryId']} here, only that of"
                f" {account}. Leave registry_id out on this stack"
            )
        (found,) = self.clients.ecr(region).get_authorization_token()["authorizationData"]
        user, _, password = base64.b64decode(found["authorizationToken"]).decode().partition(":")
        return {
            "authorizationToken": found["authorizationToken"],
            "expiresAt": found["expiresAt"].strftime("%Y-%m-%dT%H:%M:%SZ"),
            "id": region,
            "password": password,  # In the clear, as in the plugin. The program makes it secret.
            "proxyEndpoint": self.clients.endpoint,
            "region": region,
            "userName": user,
        }


RESOURCES = (Repository, LifecyclePolicy)
FUNCTIONS = (GetAuthorizationToken,)
