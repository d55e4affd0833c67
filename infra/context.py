"""Which account and region this program works in, as whom, and what a stack's things are called.

Names of cloud resources follow from stack and account alone, since a preview has to know them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import pulumi
import pulumi_aws as aws

from infra.account.clients import Clients, shared
from infra.account.deployment_names import DeploymentName
from infra.names import DEFAULT_NAMES, PREFIX_TAG, PROJECT_TAG, STACK_TAG, Names
from infra.settings import Misconfigured

_LONGEST_BUCKET = 63  # docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_OWNED_BY_PATH = ("s3",)  # services whose ARNs have neither region nor account


@dataclass(frozen=True, kw_only=True)
class Context:
    """A stack of a project, in a region of an account."""

    account: str
    region: str
    partition: str
    profile: str | None
    project: str
    stack: str
    component_prefix: str = DEFAULT_NAMES.prefix

    @classmethod
    def find(cls, component_prefix: str) -> Context:
        """Ask Pulumi's provider where it works; Misconfigured for names that are too long."""
        found = cls(
            account=aws.get_caller_identity().account_id,
            region=aws.get_region().region,
            partition=aws.get_partition().partition,
            profile=pulumi.Config("aws").get("profile"),
            project=pulumi.get_project(),
            stack=pulumi.get_stack(),
            component_prefix=component_prefix,
        )
        _ = found.bucket  # refused before anything is made
        found._check_aws_native()
        return found

    def _check_aws_native(self) -> None:
        """Misconfigured where the plugin aws-native would work elsewhere, or as somebody else.

        It reads `aws-native:` keys and the shell, never `aws:` keys (pulumi-aws-native 220, 1646).
        """
        config = pulumi.Config("aws-native")
        told = {
            "region": (self.region, config.get("region") or os.environ.get("AWS_REGION")),
            "profile": (self.profile, config.get("profile") or os.environ.get("AWS_PROFILE")),
        }
        for key, (wanted, found) in told.items():
            if wanted and found != wanted:
                raise Misconfigured(
                    f"the aws plugin has {key} {wanted}, but the aws-native plugin has"
                    f" {found or 'none'}. It reads no aws: keys:"
                    f" pulumi config set aws-native:{key} {wanted}"
                )

    @classmethod
    def remembered(cls, props: Mapping[str, Any]) -> Context:
        """The context of a dynamic resource, from what the state keeps of it."""
        known: dict[str, Any] = {
            field.name: props[field.name] for field in fields(cls) if field.name in props
        }
        return cls(**{"profile": None, **known})

    @property
    def props(self) -> dict[str, Any]:
        """What the state of a dynamic resource keeps."""
        return asdict(self)

    @property
    def clients(self) -> Clients:
        """boto3's clients, which everybody in this process shares."""
        return shared(self.region, self.profile)

    def arn(self, service: str, resource: str) -> str:
        where = ":" if service in _OWNED_BY_PATH else f"{self.region}:{self.account}"
        return f"arn:{self.partition}:{service}:{where}:{resource}"

    def component_arn(self, component: str, version: str = "") -> str:
        """A component's ARN, or that of one version of it."""
        at = f":versions:{version}" if version else ""
        return self.arn("greengrass", f"components:{component}{at}")

    @property
    def names(self) -> Names:
        return Names(prefix=self.component_prefix)

    @property
    def deployment_name(self) -> DeploymentName:
        return DeploymentName(project=self.project, stack=self.stack)

    @property
    def tags(self) -> dict[str, str]:
        """Marks what is ours in the account; leftovers are recognised by it."""
        tags = {PROJECT_TAG: self.project, STACK_TAG: self.stack}
        if self.names != DEFAULT_NAMES:
            tags[PREFIX_TAG] = self.component_prefix
        return tags

    @property
    def repository(self) -> str:
        return f"{self.project}/{self.stack}"

    @property
    def policy(self) -> str:
        """The inline policy of the device's role; a stack has one."""
        return f"{self.project}-{self.stack}"

    @property
    def bucket(self) -> str:
        return self.bucket_of(self.stack)

    def bucket_of(self, stack: str) -> str:
        """The bucket of a stack of this project here; Misconfigured where S3 takes no such name."""
        name = f"{self.project}-{stack}-{self.account}-{self.region}"
        if (more := len(name) - _LONGEST_BUCKET) > 0:
            raise Misconfigured(
                f"the bucket of stack '{stack}' would be {name}, with {len(name)} characters;"
                f" S3 takes {_LONGEST_BUCKET}, and a name that is cut could be another stack's."
                f" Take one that is {more} shorter, for the stack (pulumi stack init NAME) or for"
                " the project (name in Pulumi.yaml)"
            )
        return name
